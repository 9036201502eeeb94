"""Compiler options are used if the installed XLA accepts them."""

import re

import jax
import jax.numpy as jnp
import pytest

from netzoo import create_model, fold_batch_norm
from netzoo.kernels import compiler_options, xla_options
from tests.conftest import slow


@pytest.fixture(autouse=True)
def forget():
    """The result is cached for the process."""
    xla_options._accepted_options.cache_clear()
    yield
    xla_options._accepted_options.cache_clear()


def test_the_installed_xla_knows_the_options():
    """This fails if a new release drops an option, which would slow down programs."""
    assert jax.default_backend() == "cpu"
    assert compiler_options() == xla_options.OPTIONS


def test_unknown_options_are_left_out(monkeypatch):
    """Options that XLA rejects do not stop a run."""
    monkeypatch.setattr(xla_options, "OPTIONS", {"xla_cpu_no_such_option": "1"})
    assert compiler_options() == {}


@pytest.mark.parametrize("name", [slow("vgg11_bn"), slow("mobilenet_v3_small"), "resnet18"])
def test_no_convolution_is_taken_into_a_sum(name):
    """No convolution feeds only a sum or a pooling, which would run it on one core."""
    model = create_model(name, num_classes=5)
    x = jnp.zeros((2, 128, 128, 3))
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
    model, variables = fold_batch_norm(model, variables)
    apply = jax.jit(
        lambda variables, x: model.apply(variables, x, train=False),
        compiler_options=compiler_options(),
    )
    computations = apply.lower(variables, x).compile().as_text().split("\n\n")
    fused = {
        match.group(1)
        for text in computations
        for match in re.finditer(r"calls=%([\w.]+),.*__ynn_fusion", text)
    }
    assert fused
    for text in computations:
        if text.startswith("%") and text[1:].split(" ", 1)[0] in fused:
            assert "convolution(" not in text
