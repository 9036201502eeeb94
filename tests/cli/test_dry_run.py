"""The option `--dry-run` of `netzoo train`."""

import numpy as np
import pytest

from netzoo.cli import dry_run as module
from netzoo.cli.dry_run import dry_run, learning_rates
from netzoo.cli.main import main
from netzoo.config import save_config
from netzoo.errors import UserError
from netzoo.tasks import resolve_config
from tests.conftest import tiny_config, tiny_translation_config
from tests.training.runs import run


@pytest.fixture
def cheap(monkeypatch):
    """Neither compile nor run the step."""
    monkeypatch.setattr(module, "estimate", lambda *args, **options: None)
    monkeypatch.setattr(module, "_show_memory", lambda memory: None)
    monkeypatch.setattr(module, "step_seconds", lambda *args: [3.0, 0.5, 0.7])


def test_shows_data_steps_and_time(pictures, cheap, tmp_path, capsys):
    """Protects the numbers: 40, 11 and 11 images, and 4 epochs of 5 steps, of 0.7 s each."""
    workdir, figure = tmp_path / "run", tmp_path / "schedule.png"
    dry_run(tiny_config(pictures), workdir, str(figure), "the configuration")
    shown = capsys.readouterr().out
    assert shown.startswith("the configuration\n")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines()]
    splits = [["train", "train", "40"], ["validation", "val", "11"], ["test", "test", "11"]]
    assert [row for row in cells if row[:1] in ([s[0]] for s in splits)] == splits
    assert ["1", "0.20", "0"] in cells and ["20", "4.00", "1.09e-05"] in cells
    assert "20 steps, 5 an epoch" in shown
    assert "0.7 s a step (median of 3), 0:00:14 for 20 steps" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["schedule.png"], "it writes nothing else"


def test_rates_are_those_of_the_run(pictures):
    """Protects the schedule: a warm-up of an epoch, and half a cosine."""
    rates = learning_rates(tiny_config(pictures), steps_per_epoch=5)
    decay = 0.5e-3 * (1 + np.cos(np.pi * np.arange(15) / 15))
    np.testing.assert_allclose(rates, [0, 2e-4, 4e-4, 6e-4, 8e-4, *decay], atol=1e-9)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optimizer.lr_mults", ((r"nothing", 0.5), (r".*", 1.0)), "nothing"),
        ("data.test_split", "tset", "tset"),
        ("init.weights", "nowhere.npz", "nowhere"),
        ("sharding.fsdp", 3, "sharding.fsdp is 3"),
    ],
)
def test_errors_are_those_of_training(pictures, key, value, message, capsys):
    """Protects dry runs: they refuse what training refuses, with or without a folder."""
    config = tiny_config(pictures)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        dry_run(config, None, None, "the configuration")
    assert "the configuration" not in capsys.readouterr().out, "errors come first"


def test_errors_of_the_network_s_statistics():
    """Protects from a run that would stop when it is built, after its folder was written."""
    config = tiny_translation_config()
    config.train.batch_norm_batches = 3
    with pytest.raises(UserError, match="no BatchNorm"):
        dry_run(config, None, None)


def test_checks_the_folder_of_the_run(pictures, cheap, tmp_path, capsys):
    """Protects a run that exists: its values must agree; a folder of other files is refused."""
    config = tiny_config(pictures)
    save_config(resolve_config(config, training=True), tmp_path)
    (tmp_path / "checkpoints" / "1" / "state").mkdir(parents=True)
    with pytest.raises(UserError, match="another configuration"):
        config.optimizer.b1 = 0.5
        dry_run(config, tmp_path, None)
    with pytest.raises(UserError, match="holds no run"):
        dry_run(config, tmp_path / "checkpoints", None)


@pytest.mark.slow
def test_command_measures(tmp_path):
    """Protects the command as documented, with a compiled step."""
    file = tmp_path / "tiny.py"
    file.write_text("from tests.conftest import tiny_translation_config as get_config\n")
    done = run("-m", "netzoo", "train", "--config", file, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "data.train_split = 'train[80:122]'" in done.stdout
    assert "MiB (parameters " in done.stdout
    assert " for 20 steps" in done.stdout
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["tiny.py"]


def test_figure_needs_a_dry_run(capsys, tmp_path):
    """Protects from a figure that training would not draw."""
    command = ["train", "--config", "quickstart", "--workdir", str(tmp_path / "run")]
    assert main([*command, "--figure", "a.png"]) == 1
    assert "--figure draws the learning rate of a --dry-run" in capsys.readouterr().err
