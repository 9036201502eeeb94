"""Compiler options are used if the installed XLA accepts them."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from netzoo import create_model, fold_batch_norm
from netzoo.kernels import compiler_options, options_for_one_run, xla_options
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


@pytest.mark.slow
def test_initial_variables_do_not_depend_on_the_options():
    """Protects the seeds: the same seed gives the same bits, whatever compiles them."""
    draw = nn.initializers.variance_scaling
    kinds = {
        **{f"fan out, {name}": draw(2.0, "fan_out", name) for name in ("normal", "uniform")},
        "fan in, truncated": draw(2.0, "fan_in", "truncated_normal"),
        "normal": nn.initializers.normal(0.01),
    }

    def initial(seed):
        keys = jax.random.split(jax.random.key(seed), len(kinds))
        return {
            name: kinds[name](key, (3, 3, 7, 31)) for name, key in zip(kinds, keys, strict=True)
        }

    lowered = jax.jit(initial).lower(0)
    assert options_for_one_run()
    quick, usual = (lowered.compile(options) for options in (options_for_one_run(), {}))
    chex.assert_trees_all_equal(quick(7), usual(7))


_PROGRAM = """
import os
import jax
import netzoo
from netzoo.kernels import xla_options
{before}
netzoo.setup()
netzoo.setup()
assert {late} == xla_options._ynn_takes_convolutions()
print(os.environ["XLA_FLAGS"])
"""


def run_program(late=False, flags="", before=""):
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    code = _PROGRAM.format(late=late, before=before)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_setup_reaches_programs_of_others():
    """A convolution of a plain `jax.jit` does not run in YNN, and other flags stay."""
    done = run_program(flags="--xla_cpu_enable_fast_math=false")
    assert done.returncode == 0, done.stderr
    [option] = xla_options.OPTIONS.items()
    assert done.stdout.split() == ["--xla_cpu_enable_fast_math=false", "--{}={}".format(*option)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "status", "message"),
    [
        ({"before": "jax.numpy.zeros(())"}, 1, "UserError: netzoo.setup() came too late"),
        ({"before": "xla_options._KNOWN = ((0, 1), (0, 2))", "late": True}, 0, ""),
        ({"flags": "--xla_cpu_experimental_ynn_fusion_type=", "before": "1"}, 0, ""),
    ],
)
def test_setup_needs_an_xla_that_it_knows_and_that_has_not_started(settings, status, message):
    done = run_program(**settings)
    assert (done.returncode, message in done.stderr) == (status, True), done.stderr


def test_setup_knows_the_releases_that_netzoo_allows():
    """An XLA that does not know an option of XLA_FLAGS would abort the process."""
    file = configparser.ConfigParser()
    file.read(Path(__file__).parents[2] / "setup.cfg")
    (low, high) = (".".join(map(str, release)) for release in xla_options._KNOWN)
    assert f"jaxlib >={low},<{high}" in file["options"]["install_requires"]


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
