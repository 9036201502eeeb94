"""Options for the compiler: used where the installed XLA knows them, left out where not."""

import jax
import pytest

from netzoo import compilation


@pytest.fixture(autouse=True)
def forget():
    """The answer is kept for the process."""
    compilation._known.cache_clear()
    yield
    compilation._known.cache_clear()


def test_the_installed_xla_knows_the_options():
    """If a new release drops an option, this says so; programs would only become slower."""
    assert jax.default_backend() == "cpu"
    assert compilation.compiler_options(sums=True) == compilation.WITH_SUMS
    assert compilation.compiler_options(sums=False) == compilation.WITHOUT_SUMS


def test_unknown_options_are_left_out(monkeypatch):
    """XLA refuses options that it does not know: that must not stop a training run."""
    monkeypatch.setattr(compilation, "WITH_SUMS", {"xla_cpu_no_such_option": "1"})
    assert compilation.compiler_options(sums=True) == {}
