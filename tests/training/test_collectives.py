"""What devices send to each other in a training step, read from compiled programs."""

import json
import os
import subprocess
import sys

import jax
import pytest

from tests.training.runs import ROOT
from tests.training.toy import ToyTask

pytestmark = pytest.mark.slow
CHANNELS = 16  # of the only BatchNorm


@pytest.fixture(scope="module")
def collectives():
    """The kinds and elements of the collectives of each program of `tests.training.collectives`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.collectives"],
        cwd=ROOT,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def gradient_and_loss():
    """Return the number of elements that data parallelism must sum."""
    params = jax.eval_shape(ToyTask().init, jax.random.key(0))["params"]
    return sum(x.size for x in jax.tree.leaves(params)) + 1


def test_data_parallelism_sums_gradients_and_statistics(collectives):
    """Nothing else is sent: no activations, and no parameters.

    The sums are those of BatchNorm forward (two per channel), of BatchNorm backward (the gradients
    of scale and bias), and of all other gradients with the loss.
    """
    program = collectives["step 1 1"]
    assert {kind for kind, _ in program} == {"all-reduce"} and len(program) == 3
    assert sum(size for _, size in program) == gradient_and_loss() + 2 * CHANNELS


def test_statistics_of_a_device_need_no_sum_between_layers(collectives):
    """The forward and the backward pass do not wait for other devices.

    One sum at the end has the gradients, the loss and the running statistics. Groups that span
    devices need the sums of BatchNorm.
    """
    assert collectives["step 1 8"] == [["all-reduce", gradient_and_loss() + 2 * CHANNELS]]
    between = {groups: len(collectives[f"input gradient {groups}"]) for groups in (1, 2, 8, 16)}
    assert between == {1: 2, 2: 2, 8: 0, 16: 0}


def test_sharded_parameters_are_gathered(collectives):
    """FSDP gathers parameters, and sends no activations."""
    kinds = {kind for kind, _ in collectives["step 8 1"]}
    assert kinds == {"all-gather", "all-reduce"}
    # The largest gathered array is the largest parameter, not the activations.
    largest = max(size for kind, size in collectives["step 8 1"] if kind == "all-gather")
    assert largest == 6 * CHANNELS
