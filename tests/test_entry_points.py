"""The commands as a user types them: mistakes give one clear line, and nothing is compiled."""

import pytest

from tests.conftest import slow
from tests.training.runs import run

TRAIN = ("train.py", "--config", "configs/quickstart.py", "--workdir")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.train.epoch=3", "did you mean train.epochs"),
        slow("--config.model.name=mobilnet_v2", "did you mean mobilenet_v2"),
        slow("--config.train.epochs=0", "train.epochs is 0; expected at least 1"),
        slow("--config.data.source=folder:nowhere", "nowhere"),
    ],
)
def test_mistakes_are_one_message(override, message, tmp_path):
    """Protects users from tracebacks: status 1, the message, the closest valid name."""
    done = run(*TRAIN, tmp_path / "run", override)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "compiling" not in done.stdout


@pytest.mark.slow  # tests/data/test_sources.py has the error
def test_missing_data_set_names_the_ways_on(tmp_path):
    """Protects a first run without a network: the message lists three alternatives."""
    source = "--config.data.source=tfds:tf_flowers"
    done = run(*TRAIN, tmp_path / "run", source, f"--config.data.data_dir={tmp_path}")
    assert done.returncode == 1
    assert "netzoo prepare tf_flowers --from" in done.stderr
    assert "folder:" in done.stderr
    assert "compiling" not in done.stdout


@pytest.mark.slow  # tests/data/test_sources.py has the error
def test_text_file_in_a_folder_is_named(pictures, tmp_path):
    """Protects users with one broken picture among thousands: the message names the file."""
    bad = tmp_path / "data" / "daisy" / "bad.jpg"
    for name in ("daisy", "roses"):
        (tmp_path / "data" / name).mkdir(parents=True)
        good = next((pictures / "train" / name).iterdir())
        (tmp_path / "data" / name / "good.png").write_bytes(good.read_bytes())
    bad.write_text("no picture")
    done = run(*TRAIN, tmp_path / "run", f"--config.data.source=folder:{tmp_path / 'data'}")
    assert done.returncode == 1
    assert "bad.jpg" in done.stderr


def test_output_is_utf_8_whatever_the_locale(monkeypatch):
    """Protects translations and file names with letters that the terminal's encoding lacks."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code = (
        "from netzoo.cli import launch; parser = launch.parser('print', None);"
        "parser.add_argument('--config');"
        "arguments = ['--config=quickstart', '--workdir=x'];"
        r"launch.run(parser, arguments, lambda config, options: print('f\xfcr \udce9'))"
    )
    done = run("-c", code)
    assert (done.returncode, done.stdout) == (0, "für \\udce9\n"), done.stderr
