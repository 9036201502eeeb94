"""The command `netzoo train` before it trains: its help, and the configuration it would use."""

import pytest

from netzoo.cli.main import main
from tests.training.runs import run


def test_print_config_shows_values_and_origins():
    """Protects `--print-config`, which prints values and origins and needs no folder."""
    done = run(
        *("-m", "netzoo", "train", "--config", "quickstart", "--print-config"),
        *("--config.train.epochs=3", "--noconfig.augment.flip"),
    )
    assert done.returncode == 0, done.stderr
    lines = {line.split(" = ")[0]: line.split(" = ")[1] for line in done.stdout.splitlines()}
    assert lines["train.epochs"].split() == ["3", "--config.train.epochs"]
    assert lines["augment.flip"].split() == ["False", "--config.augment.flip"]
    assert lines["train.label_smoothing"].split() == ["0.1", "quickstart"]
    assert lines["train.batch_size"].split() == ["32", "default"]
    assert lines["data.mean"].endswith("resolved from the other keys")


@pytest.mark.parametrize(("command", "has_keys"), [("train", True), ("eval", False)])
def test_help_lists_the_keys_where_they_are_chosen(command, has_keys, capsys):
    """Protects the short help of other commands."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert ("optimizer.learning_rate = 0.001" in text) == has_keys
    assert "--config.KEY=VALUE" in text


def test_a_run_needs_a_folder(capsys):
    """Protects from training without a --workdir."""
    with pytest.raises(SystemExit):
        main(["train", "--config", "quickstart"])
    assert "required: --workdir" in capsys.readouterr().err
