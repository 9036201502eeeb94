"""Every key of the configuration refuses what it cannot be, before anything is compiled."""

import functools
import math
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from netzoo.cli import launch
from netzoo.config import default_config, validate
from netzoo.config.defaults import flatten
from netzoo.config.rules import RULES
from netzoo.config.validation import TYPES
from netzoo.errors import UserError

DOCUMENT = Path(__file__).parents[1] / "docs" / "configs.md"
TASKS = tuple(RULES)
# The first task that has it, for every key.
TASK_OF = {key: task for task in reversed(TASKS) for key in flatten(default_config(task))}
NAN, INF = math.nan, math.inf
COUNT, SHARE, POSITIVE = (0, -1), (1.0, -0.1, NAN), (0.0, -1.0, INF, NAN)
NOT_NEGATIVE, TEXT = (-0.5, INF, NAN), ("", " ")
TABLES = ((), (1.0,), ((".*", -1.0),), (("[", 1.0),), ((".*", "x"),), ((".*", NAN),))

# Of every key values that it refuses. A key that is new in `default_config` has to be added.
OUT_OF_RANGE = {
    "seed": (-1, 2**32),
    "task": ("translatoin", ""),
    "model.name": TEXT,
    "model.dtype": ("float16", ""),
    "init.weights": TEXT,
    "data.source": TEXT,
    "data.data_dir": TEXT,
    "data.train_split": TEXT,
    "data.validation_split": TEXT,
    "data.num_threads": COUNT,
    "data.image_size": COUNT,
    "data.cache": ("disk", ""),
    "data.on_corrupt": ("ignore", ""),
    "train.on_nonfinite": ("ignore", ""),
    "data.mean": ((1.0, 2.0), (1.0, 2.0, "x"), (1.0, 2.0, NAN)),
    "data.std": ((1.0, 2.0), (1.0, 2.0, 0.0), (1.0, 2.0, INF)),
    "data.vocabulary": TEXT,
    "data.vocabulary_size": (7,),
    "data.lengths": ((), (1,), (32, 16), (16, 16), (8.5,), ("a",)),
    "data.row_multiple": COUNT,
    "augment.crop_scale": ((0.5, 0.2), (0.0, 1.0), (0.5, 1.1), (0.5,), ("a", 1), (NAN, 1.0)),
    "augment.crop_ratio": ((2.0, 1.0), (0.0, 1.0), (1.0,), (1.0, INF)),
    "augment.randaugment_layers": (-1,),
    "augment.randaugment_magnitude": (-1.0, 10.5, NAN),
    "augment.mixup": NOT_NEGATIVE,
    "train.epochs": COUNT,
    "train.batch_size": COUNT,
    "train.grad_accum_steps": COUNT,
    "train.label_smoothing": SHARE,
    "train.clip_norm": POSITIVE,
    "train.ema_decay": SHARE,
    "train.log_every_steps": COUNT,
    "optimizer.name": ("adam", ""),
    "optimizer.learning_rate": POSITIVE,
    "optimizer.momentum": SHARE,
    "optimizer.b1": SHARE,
    "optimizer.b2": SHARE,
    "optimizer.decay": SHARE,
    "optimizer.epsilon": POSITIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.lr_mults": (*TABLES, ((".*", 0.0),)),
    "optimizer.weight_decay_mults": TABLES,
    "schedule.name": ("step", ""),
    "schedule.warmup_epochs": NOT_NEGATIVE,
    "schedule.decay_rate": (0.0, 1.5, NAN),
    "schedule.decay_epochs": POSITIVE,
    "evaluation.every_epochs": (-1,),
    "evaluation.batch_size": COUNT,
    "evaluation.train_examples": COUNT,
    "evaluation.crop_pct": (0.0, 1.5, NAN),
    "evaluation.top_k": COUNT,
    "evaluation.beam_size": COUNT,
    "evaluation.length_penalty": NOT_NEGATIVE,
    "evaluation.extra_length": (-1,),
    "checkpoint.every_steps": (-1,),
    "checkpoint.keep": COUNT,
    "sharding.fsdp": (0, -2),
    "sharding.parameters": ((), ((".*", 1.5),), ((".*", "smallest"),), (("[", None),)),
    "sharding.min_size": COUNT,
}
# Both values of a switch are right.
SWITCHES = (
    *("augment.flip", "train.freeze_batch_norm", "train.remat"),
    *("optimizer.nesterov", "sharding.describe", "profile"),
)
# Any text may be a split, which the data tell, and here the empty one is none.
ANY_TEXT = ("data.test_split",)

# What is no value of a type: on the command line, and in a file. Any text is one, but None.
WRONG = {
    bool: ("maybe", 1),
    int: ("1.5", 1.5),
    float: ("x", "x"),
    str: (None, 3),
    tuple: ("3", 3),
}


def type_of(key: str) -> type:
    """The type of a key's default."""
    *tables, name = key.split(".")
    return functools.reduce(lambda c, t: c[t], tables, default_config(TASK_OF[key])).get_type(name)


def set_to(key: str, value, task: str | None = None):
    """The defaults with one other value."""
    config = default_config(task or TASK_OF[key])
    config.update_from_flattened_dict({key: value})
    return config


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Reads a configuration as train.py does: flags, and a file with some more lines."""

    def read(*arguments: str, task: str = TASKS[0], lines: str = ""):
        path = tmp_path / "experiment.py"
        path.write_text(
            "from netzoo.config import default_config\n\n\ndef get_config():\n"
            f"    config = default_config({task!r})\n    {lines}\n    return config\n"
        )
        values = flags.FlagValues()
        argv = ["train.py", f"--config={path}", *arguments]
        monkeypatch.setattr(sys, "argv", argv)  # where config_flags looks for overrides
        monkeypatch.setattr(flags, "FLAGS", values)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        config_flags.DEFINE_config_file("config", flag_values=values)
        launch._parse(argv)
        return values.config

    return read


def test_every_key_has_a_case():
    """Protects keys to come: one without a rule has to be said to need none."""
    assert {*OUT_OF_RANGE, *SWITCHES, *ANY_TEXT} == {*TASK_OF}
    assert all(type_of(key) is bool for key in SWITCHES)
    for task in TASKS:
        assert {*RULES[task]} <= {*flatten(default_config(task))}, "a rule of no key"


@pytest.mark.parametrize("key", OUT_OF_RANGE)
def test_out_of_range(key):
    """Protects every key's range: the key, the value and the rule are in the message."""
    for value in OUT_OF_RANGE[key]:
        with pytest.raises(UserError) as error:
            validate(set_to(key, value))
        if key == "task":
            assert f"unknown task {value!r}" in str(error.value)
            continue
        wanted = {RULES[TASK_OF[key]][key].wanted, TYPES[type_of(key)]}
        *_, found = str(error.value).splitlines()[0].partition(f"{key} is {value!r}; expected ")
        assert found.removesuffix(", or None") in wanted, str(error.value)


@pytest.mark.parametrize("key", TASK_OF)
def test_wrong_type(key, read):
    """Protects every key's type, on the command line, in a file, and from None."""
    task, (typed, assigned) = TASK_OF[key], WRONG[type_of(key)]
    wanted = TYPES[type_of(key)]
    if typed:
        with pytest.raises(UserError) as error:
            read(f"--config.{key}={typed}", task=task)
        assert str(error.value) == f"flag --config.{key}={typed}: expected {wanted}"
    with pytest.raises(UserError) as error:
        read(task=task, lines=f"config.{key} = {assigned!r}")
    assert f"experiment.py:6: config.{key} = {assigned!r}: found {assigned}" in str(error.value)
    assert str(error.value).endswith(f"expected {wanted}")
    config = read(f"--config.{key}=None", task=task)
    if flatten(default_config(task))[key] is None:
        validate(config)
    else:
        with pytest.raises(UserError, match="unknown task" if key == "task" else f"{key} is None"):
            validate(config)


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        ("config.optimizer.learning_rate = 1", "optimizer.learning_rate", 1.0),
        ("config.augment.crop_scale = [0.5, 1]", "augment.crop_scale", (0.5, 1)),
        ("config.train.clip_norm = 1", "train.clip_norm", 1.0),
    ],
)
def test_what_is_meant_is_taken(lines, key, value, read):
    """Protects from pedantry: whole numbers for others, lists for tuples."""
    config = read(lines=lines)
    validate(config)
    assert flatten(config)[key] == value


@pytest.mark.parametrize(
    ("arguments", "lines", "message"),
    [
        (["--config.train.epoch=3"], "", "no key 'epoch'. Did you mean \"epochs\""),
        (["--config.trian.epochs=3"], "", 'Did you mean "train"'),
        (["--config=nowhere.py"], "", "No such file or directory: 'nowhere.py'"),
        (["--config.model.width=3"], "", "no key 'width'"),
        ([], "config.train.epoch = 3", 'epoch = 3: Key "epoch" does not exist. Did you mean'),
        ([], "config.train = 3", "config.train = 3: found 3 (int); expected"),
        ([], "import nothing", "experiment.py:6: import nothing: ModuleNotFoundError"),
        ([], "raise ValueError('neither')", "ValueError: neither"),
        ([], "config = (", "SyntaxError"),
    ],
)
def test_mistakes_in_reading_are_one_line(arguments, lines, message, read):
    """Protects from tracebacks: the line of the file, and what is wrong with it."""
    with pytest.raises(UserError) as error:
        read(*arguments, lines=lines)
    assert message in str(error.value)
    assert "Traceback" not in str(error.value)
    assert "fields present" not in str(error.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("config.unlock(); config.train.epoch = 3", "unknown key 'train.epoch'; did you mean"),
        ("config.train = {'epochs': 3}", "missing: train.batch_size, "),
        ("config.train = None", "missing: train.batch_size, "),
        ("config = 3", "the configuration is 3; expected what default_config returns"),
        ("config.seed = True", "seed is True; expected a whole number"),
    ],
)
def test_what_a_file_can_do_to_the_schema(lines, message, read):
    """Protects from keys that nothing reads and tables that lack some."""
    with pytest.raises(UserError) as error:
        validate(read(lines=lines), training=True)
    assert message in str(error.value)


def documented(task: str) -> str:
    """The table of a task's keys: those of images, and what translation has besides or else."""
    before = {} if task == TASKS[0] else flatten(default_config(TASKS[0]))
    rows = []
    for key, default in flatten(default_config(task)).items():
        if key in before and before[key] == default:
            continue
        rule = RULES[task].get(key)
        wanted = rule.wanted if rule else TYPES[type_of(key)]
        kind = type_of(key).__name__ + " or None" * (default is None)
        shown = repr(default).replace("|", "\\|")  # else it ends the cell
        rows.append(f"| `{key}` | {kind} | `{shown}` | {wanted} |")
    return "\n".join(["| key | type | default | expected |", "|---|---|---|---|", *rows])


@pytest.mark.parametrize("task", TASKS)
def test_the_document_has_every_key(task):
    """Protects the tables of docs/configs.md from being of another version."""
    assert documented(task) in DOCUMENT.read_text(), f"expected there:\n{documented(task)}"
