"""The sharding of parameters, and equal training results for every sharding."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from netzoo.config import default_config
from netzoo.errors import UserError
from netzoo.training import sharding
from tests.training.many_devices import EXAMPLES, LAYOUTS
from tests.training.runs import ROOT

MESH = AbstractMesh((2, 4), ("data", "fsdp"))
PARAMS = {
    "stem": {"kernel": jnp.zeros((3, 8, 20)), "bias": jnp.zeros(20)},
    "odd": {"kernel": jnp.zeros((7, 30))},
}


def place(**options):
    """Return the partitions of PARAMS under `options` of `config.sharding`."""
    config = default_config()
    config.sharding.update(min_size=100, **options)
    placed = sharding.parameter_shardings(config, PARAMS, MESH)
    return placed, jax.tree.map(lambda s: s.spec, placed)


def test_largest_axis_that_can_be_divided_is():
    """Protects the default: the largest divisible axis, or none for small parameters."""
    _, specs = place()
    assert specs["stem"] == {"kernel": PartitionSpec(None, None, "fsdp"), "bias": PartitionSpec()}
    assert specs["odd"]["kernel"] == PartitionSpec()


def test_table_decides_by_path():
    """Protects custom tables: negative axes count from the end, None shards nothing."""
    _, specs = place(parameters=((r"stem/kernel", -2), (r".*/bias", 0), (r".*", None)))
    assert specs["stem"] == {"kernel": PartitionSpec(None, "fsdp"), "bias": PartitionSpec("fsdp")}
    assert specs["odd"]["kernel"] == PartitionSpec()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (((r".*", 0),), "odd/kernel (7x30) to axis 0; expected an axis from -2 to 1 whose size"),
        (
            ((r".*/bias", 1), (r".*", None)),
            "stem/bias (20) to axis 1; expected an axis from -1 to 0",
        ),
        (((r".*/bias", "big"), (r".*", None)), "axis 'big'; expected"),
        (((r".*", None), (r".*/bias", 0)), "'.*/bias' matches no parameter"),
    ],
)
def test_faults_of_a_table(table, message):
    """Protects users of tables from XLA's errors: the error names parameter, shape and axis."""
    with pytest.raises(UserError) as error:
        place(parameters=table)
    assert message in str(error.value)


def test_state_follows_its_parameters():
    """Protects the saved memory: the state of the optimizer and the average is sharded too."""
    placed, specs = place()
    state = {
        "opt_state": ({"count": jnp.zeros(())}, {"mu": PARAMS, "nu": PARAMS}),
        "ema": {"params": PARAMS, "batch_stats": {"stem": {"mean": jnp.zeros(20)}}},
        "kernel": jnp.zeros((3, 8, 20)),  # not the path of a parameter
    }
    found = sharding.state_shardings(state, PARAMS, placed, MESH)
    found = jax.tree.map(lambda s: s.spec, found)
    assert found["opt_state"][1] == {"mu": specs, "nu": specs}
    assert found["ema"]["params"] == specs
    whole = (found["opt_state"][0], found["ema"]["batch_stats"], found["kernel"])
    assert set(jax.tree.leaves(whole)) == {PartitionSpec()}


def test_description_counts_bytes_of_a_device():
    """Protects the printed table, which tells users whether their network fits."""
    placed, _ = place()
    lines = sharding.describe(PARAMS, placed).splitlines()
    assert lines[1].split() == ["odd/kernel", "7x30", "whole", "840"]
    assert lines[3].split() == ["stem/kernel", "3x8x20", "axis", "2", "over", "4", "480"]
    assert lines[4] == "  bytes a device: 1,400"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The results of training in every layout of `tests/training/many_devices.py`."""
    folder = tmp_path_factory.mktemp("layouts")
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.many_devices", str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {layout: dict(np.load(folder / f"{layout[0]}-{layout[1]}.npz")) for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_layouts_train_the_same(layout, trained):
    """Protects the promise that devices change speed only: losses and all state of 20 steps.

    Parameters, BatchNorm's statistics, Adam's moments, the average and dropout are in it. The bound
    is 1e-5, relative or of a number near one: devices sum in another order, float32 rounds at 6e-8,
    and the differences accumulate over twenty steps. Statistics of a device's own rows instead of
    the whole batch's would differ in the first digit.
    """
    one, many = trained[1, 1], trained[layout]
    assert one.keys() == many.keys()
    assert len(one["losses"]) == 20
    for name in one.keys() - {"bytes", "compilations", "arguments", "planned", "guessed"}:
        np.testing.assert_allclose(many[name], one[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_evaluation_counts_exactly(trained):
    """Protects reported accuracies: every example counts once in every layout, padding never."""
    correct = {int(found["correct"]) for found in trained.values()}
    assert {int(found["count"]) for found in trained.values()} == {EXAMPLES}
    assert len(correct) == 1


def test_same_weights_evaluate_the_same(trained):
    """Protects comparisons across machines: counts are equal, losses up to the order of the sum."""
    for name in ("same/count", "same/correct"):
        assert len({int(found[name]) for found in trained.values()}) == 1
    losses = [float(found["same/loss_sum"]) for found in trained.values()]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


def test_one_compilation_in_every_layout(trained):
    """Protects long runs: one program for all steps, one for all batches of an evaluation.

    A step does not change the layout of the state, and the last batch is padded to the common
    shape.
    """
    for found in trained.values():
        assert found["compilations"].tolist() == [1, 1]


def test_sharing_divides_the_memory_of_the_state(trained):
    """Protects the purpose of FSDP; only a few small arrays are whole on every device."""
    kept = {layout: int(found["bytes"]) for layout, found in trained.items()}
    assert kept[8, 1] == kept[1, 1]
    assert kept[8, 2] < 0.65 * kept[1, 1]
    assert kept[8, 8] < 0.35 * kept[1, 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_plan_knows_what_lies_on_a_device(layout, trained):
    """Protects `netzoo.cli.plan.estimate`: bytes between steps are exact, by XLA and by the arrays.

    Arguments are those of the compiled step, including the batch. The kept bytes are those of the
    trained state on the first device. The toy has 162 parameters.
    """
    found = trained[layout]
    arguments, kept, parameters, *_ = found["planned"]
    assert (arguments, kept) == (found["arguments"], found["bytes"])
    assert found["guessed"][:3].tolist() == found["planned"][:3].tolist()
    if layout[1] == 1:
        assert parameters == 4 * 162


def test_plan_extrapolates(trained):
    """Protects estimates beyond what XLA compiles, here from two devices to eight.

    The data-parallel estimate is exact. If all devices share the parameters, the gradients on a
    device are smaller than in the program for fewer devices, and it sends the same amount.
    """
    planned, guessed = ([trained[8, n][name] for n in (1, 8)] for name in ("planned", "guessed"))
    assert guessed[0].tolist() == planned[0].tolist()
    assert guessed[1][3] == pytest.approx(planned[1][3], rel=0.05)
    assert guessed[1][5] == planned[1][5]


def test_plan_counts_the_gradients(trained):
    """Protects the volumes: a ring of n devices sends 2 (n - 1) / n of all gradients from each.

    BatchNorm's sums and the metrics come on top.
    """
    for devices in (2, 8):
        gradients = 2 * (devices - 1) / devices * 4 * 162
        assert gradients < trained[devices, 1]["planned"][5] < gradients + 2 * 4 * 80
