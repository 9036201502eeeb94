"""The mesh of a run determines the implementations in its programs, whenever they are traced."""

import jax
import jax.numpy as jnp
import pytest

from netzoo import kernels
from netzoo.config import default_config
from netzoo.mesh import create_mesh
from netzoo.training.evaluation import make_eval_step
from netzoo.training.step import build_train_program
from tests.training.test_step import ToyTask

BATCH = {
    "x": jax.ShapeDtypeStruct((4, 6), jnp.float32),
    "label": jax.ShapeDtypeStruct((4,), jnp.int32),
}


class NotingTask(ToyTask):
    """Remembers under which backend it was traced."""

    def __init__(self):
        super().__init__(dropout_rate=0.0)
        self.traced_for = set()

    def loss(self, variables, batch, key):
        self.traced_for.add(kernels.backend())
        return super().loss(variables, batch, key)

    def evaluation_sums(self, variables, batch):
        self.traced_for.add(kernels.backend())
        return batch["x"].sum()


def trace_step(task):
    parts = build_train_program(default_config(), task, create_mesh())
    return lambda: parts.step.trace(parts.state, BATCH)


def trace_evaluation(task):
    sums = make_eval_step(task.evaluation_sums, create_mesh())
    return lambda: sums.trace({}, BATCH)


@pytest.mark.parametrize("prepare", [trace_step, trace_evaluation])
@pytest.mark.parametrize(("first", "later"), [("cpu", "native"), ("native", "cpu")])
def test_the_backend_is_that_of_the_preparation(prepare, first, later):
    """A step is for the devices it was prepared for; `use_backend` around that overrides them."""
    task = NotingTask()
    with kernels.use_backend(first):
        trace = prepare(task)
    with kernels.use_backend(later):
        trace()
    assert task.traced_for == {first}


def test_the_devices_of_the_mesh_decide_without_a_choice():
    """JAX's default device does not decide: a run may be planned for other devices."""
    task = NotingTask()
    with jax.default_device("tpu"):
        trace = trace_evaluation(task)
    trace()
    assert task.traced_for == {"cpu"}
