"""Options for the compiler: used where the installed XLA knows them, left out where not."""

import jax
import pytest

from netzoo import compilation


@pytest.fixture(autouse=True)
def forget():
    """The answer is kept for the process."""
    compilation.compiler_options.cache_clear()
    yield
    compilation.compiler_options.cache_clear()


def test_the_installed_xla_knows_the_options():
    """If a new release drops the option, this says so; training would only become slower."""
    assert jax.default_backend() == "cpu"
    assert compilation.compiler_options() == compilation.CPU_OPTIONS


def test_unknown_options_are_left_out(monkeypatch):
    """XLA refuses options that it does not know: that must not stop a training run."""
    monkeypatch.setattr(compilation, "CPU_OPTIONS", {"xla_cpu_no_such_option": "1"})
    assert compilation.compiler_options() == {}
