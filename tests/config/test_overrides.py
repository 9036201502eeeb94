"""User input: `--config.KEY=VALUE` and files of `configs/`."""

import sys
from pathlib import Path

import pytest

from netzoo.config import default_config, flatten, task_table, validate
from netzoo.config.overrides import override, read_config, split_overrides
from netzoo.config.rules import TYPES
from netzoo.config.tasks import TASKS
from netzoo.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def read(tmp_path):
    """Read a configuration as train.py does: arguments, and a file with some more lines."""

    def read(*arguments: str, lines: str = ""):
        path = tmp_path / "experiment.py"
        path.write_text(
            "from netzoo.config import default_config\n\n\ndef get_config(x='y'):\n"
            f"    config = default_config()\n    {lines}\n    return config\n"
        )
        rest, overrides = split_overrides([f"{path}", *arguments])
        config = read_config(rest[0])
        override(config, overrides)
        validate(config, training=True)
        return config

    return read


def test_overrides_are_split_from_the_other_arguments():
    """Protects other flags: values with and without `=`, switches, and arguments after `--`."""
    typed = [
        *("predict.py", "--config.seed=1", "-config.data.source", "a b", "--workdir=x"),
        *(
            "--noconfig.augment.flip",
            "--config.optimizer.nesterov",
            "--config.profile",
            "--json",
            "-",
            "photo",
        ),
        *("--config.sharding.fsdp", "-1", "--config.x", "-.5", "--", "--config.seed=2"),
    ]
    rest, overrides = split_overrides(typed)
    assert rest == ["predict.py", "--workdir=x", "--json", "-", "photo", "--", "--config.seed=2"]
    assert overrides == {
        **{"seed": "1", "data.source": "a b", "augment.flip": "False"},
        **{"optimizer.nesterov": "True", "profile": "True", "sharding.fsdp": "-1", "x": "-.5"},
    }


WRONG = {bool: "maybe", int: "1.5", float: "x", tuple: "3"}  # any text is a str


@pytest.mark.parametrize("task", TASKS)
def test_typed_values(task):
    """Protects every key on the command line: default, None and wrong types."""
    for name, key in task_table(task).keys.items():
        config = default_config(task)
        typed = flatten(config)[name]
        override(config, {name: str(typed)})
        validate(config)
        assert flatten(config) == flatten(default_config(task)), name
        if name == "task":
            continue
        override(config, {name: "None"})
        if key.optional:
            validate(config)
        else:
            with pytest.raises(UserError, match=f"{name} is None; expected"):
                validate(config)
        if key.type in WRONG:
            override(config, {name: WRONG[key.type]})
            with pytest.raises(UserError, match=f"{name} is .*; expected") as error:
                validate(config)
            wanted = (key.rule if key.type is tuple else TYPES[key.type]).wanted
            assert wanted in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "lines", "key", "value"),
    [
        ([], "config.optimizer.learning_rate = 1", "optimizer.learning_rate", 1),
        ([], "config.augment.crop_scale = [0.5, 1]", "augment.crop_scale", (0.5, 1)),
        (["--config.augment.crop_scale=(0.5, 1)"], "", "augment.crop_scale", (0.5, 1)),
        (["--config.train.clip_norm=1e-1"], "", "train.clip_norm", 0.1),
        (["--config.data.source=1"], "", "data.source", "1"),
        (["--config.model.padding=same"], "", "model.padding", "same"),
        (["--config.modules=mine,my.other"], "", "modules", ("mine", "my.other")),
        (["--config.model.width_multiplier=0.5"], "", "model.width_multiplier", 0.5),
        (["--config.model.own=2"], "config.model.own = 1", "model.own", 2),
    ],
)
def test_what_is_meant_is_taken(arguments, lines, key, value, read):
    """Protects lenient parsing: integers, lists, words, and options of networks."""
    assert flatten(read(*arguments, lines=lines))[key] == value


@pytest.mark.parametrize(
    ("arguments", "lines", "message"),
    [
        (["--config.train.epoch=3"], "", "unknown key 'train.epoch'; did you mean train.epochs"),
        (["--config.trian.epochs=3"], "", "did you mean train.epochs"),
        (["--config.trian.epochs=3", "--config.sed=1"], "", "did you mean seed"),
        (["--config.model.width=3"], "", "model.width_multiplier"),
        (["--config.train.clip_norm=1" + 400 * "0"], "", "0; expected a finite number, or None"),
        ([], "config.train.epoch = 3", "unknown key 'train.epoch'; did you mean train.epochs"),
        ([], "config.train.epoch += 3", "experiment.py:6: config.train.epoch += 3: AttributeError"),
        ([], "config.train = {'epochs': 3}", "missing: train.batch_size, "),
        ([], "config.train = 3", "unknown key 'train'"),
        ([], "config = 3", "3; expected what default_config returns"),
        ([], "config.seed = True", "seed is True; expected an integer"),
        ([], "config.train.epochs = 10**400", "0; expected an integer"),
        ([], "import nothing", "experiment.py:6: import nothing: ModuleNotFoundError"),
        ([], "raise ValueError('neither')", "ValueError: neither"),
        ([], "config = (", "SyntaxError"),
    ],
)
def test_mistakes(arguments, lines, message, read):
    """Protects from tracebacks: one line with the line of the file or the key, and advice."""
    with pytest.raises(UserError) as error:
        read(*arguments, lines=lines)
    assert message in str(error.value)
    assert "Traceback" not in str(error.value)


def test_file_that_is_not_there(tmp_path, monkeypatch):
    """Protects users who mistype the path: the message starts with it, in any folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for file in ("nowhere.py", "configs/nowhere.py", "folder"):
        with pytest.raises(UserError, match=f"^{file} is neither a file nor"):
            read_config(file)


@pytest.mark.parametrize("name", ["mobilenet_v2", str(ROOT / "configs" / "mobilenet_v2.py")])
def test_a_checkout_that_is_not_installed_says_so(name, monkeypatch):
    """Protects users who have not run `pip install -e .`."""

    class NotInstalled:
        def find_spec(name, path=None, target=None):
            if name == "netzoo.configs":
                raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(sys, "meta_path", [NotInstalled, *sys.meta_path])
    for module in ("netzoo.configs", "netzoo.configs._flowers"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(UserError, match=r"pip install -e \."):
        read_config(name)


def test_a_configuration_of_the_package_is_not_hidden_by_a_folder(tmp_path, monkeypatch):
    """Protects from a folder with the name of a configuration."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mobilenet_v2").mkdir()
    assert read_config("mobilenet_v2").model.name == "mobilenet_v2"


def test_a_misspelt_configuration_gets_the_nearest():
    """Protects names of configurations in the package."""
    with pytest.raises(UserError, match=r"Did you mean 'quickstart'.*mobilenet_v1, mobilenet_v2"):
        read_config("quickstrt")


def test_argument_of_a_file(tmp_path):
    """Protects `--config FILE:ARGUMENT`."""
    path = tmp_path / "experiment.py"
    path.write_text("config = 1\n")
    with pytest.raises(UserError, match="get_config"):
        read_config(str(path))
    path.write_text("def get_config(trained='all'):\n    return trained\n")
    assert (read_config(str(path)), read_config(f"{path}:head")) == ("all", "head")
