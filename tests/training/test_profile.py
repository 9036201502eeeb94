"""The trace of some steps that the key `profile` asks for."""

import jax
import pytest

from netzoo.training import train
from tests.conftest import tiny_config
from tests.training.cheap_run import cheap_steps


@pytest.mark.parametrize(
    ("epochs", "first", "last"), [(1, 3, 5), (3, 8, 15), (4, 10, 19), (5, 10, 19)]
)
def test_steps_of_the_trace(epochs, first, last, pictures, tmp_path, monkeypatch, capsys):
    """Protects short runs, which left no trace and said nothing."""
    seen = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: seen.append(folder))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: seen.append("end"))
    config = tiny_config(pictures)
    config.profile, config.train.epochs = True, epochs
    with cheap_steps():
        assert train(config, tmp_path / "run") == 0
    folder = tmp_path / "run" / "profile"
    assert seen == [str(folder), "end"] and folder.is_dir()
    assert f"tracing steps {first} to {last} into {folder}" in capsys.readouterr().out


def test_the_trace_of_a_continued_run(pictures, tmp_path, monkeypatch, capsys):
    """The steps count from the continuation, whose first step compiles too."""
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: None)
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: None)
    config = tiny_config(pictures)
    config.train.epochs = 1
    with cheap_steps():
        assert train(config, tmp_path / "run") == 0
        config.profile, config.train.epochs = True, 2
        assert train(config, tmp_path / "run") == 0
    assert "tracing steps 8 to 10" in capsys.readouterr().out
