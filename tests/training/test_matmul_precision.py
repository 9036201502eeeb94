"""The key `matmul_precision`: what the programs of a run ask of an accelerator's products."""

import re
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.config import default_config
from netzoo.kernels import describe_precision, use_backend
from netzoo.mesh import create_mesh
from netzoo.training import loop
from netzoo.training.evaluation import make_eval_step
from netzoo.training.step import build_train_program
from tests.training.test_backends import BATCH
from tests.training.toy import ToyTask


def precisions(program, *arguments):
    """Return the precisions of the products in a program for TPUs."""
    text = program.trace(*arguments).lower(lowering_platforms=("tpu",)).as_text()
    return {*re.findall(r"precision = \[(\w+), \w+\]", text)}


def step_precisions(name):
    config = default_config()
    config.matmul_precision = name
    with use_backend("native"):
        program = build_train_program(config, ToyTask(), create_mesh())
    return precisions(program.step, program.state, BATCH)


@pytest.mark.parametrize(
    ("name", "precision"),
    [("default", "DEFAULT"), ("bfloat16", "DEFAULT"), ("highest", "HIGHEST")],
)
def test_the_products_of_a_training_step(name, precision):
    """Protects forward and backward products, which must all have the precision of the key."""
    assert step_precisions(name) == {precision}


def test_the_default_leaves_the_setting_of_jax():
    """Protects `JAX_DEFAULT_MATMUL_PRECISION`, which other values of the key override."""
    with jax.default_matmul_precision("high"):
        assert step_precisions("default") == {"HIGH"}
        assert step_precisions("highest") == {"HIGHEST"}
        assert "precision high, three bfloat16 passes" in describe_precision("tpu", "default")


def test_evaluation():
    """Protects evaluation, in training and afterwards."""
    x = jnp.ones((2, 2))
    step = make_eval_step(lambda variables, batch: variables @ batch, create_mesh(), "highest")
    assert precisions(step, x, x) == {"HIGHEST"}


def test_the_line_at_the_start():
    """Protects the line, which a CPU has only if its products are not those of float32."""
    assert describe_precision("cpu", "highest") == ""
    assert "bfloat16, one bfloat16 pass" in describe_precision("cpu", "bfloat16")
    assert describe_precision("gpu", "bfloat16").endswith("TF32 if the GPU has it")
    line = "float32 matrix products: precision default, one bfloat16 pass"
    assert describe_precision("tpu", "default") == line
    assert describe_precision("gpu", "highest").endswith("precision highest, float32")
    assert describe_precision("new", "high").endswith("precision high")
    mesh = SimpleNamespace(devices=np.array([SimpleNamespace(platform="tpu")]))
    task = SimpleNamespace(steps_per_epoch=5, notes=list)
    with mock.patch.object(loop, "say") as said:
        loop.announce(default_config(), task, mesh, 7, "", [])
    assert mock.call(line) in said.call_args_list
