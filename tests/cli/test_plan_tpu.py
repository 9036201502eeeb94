"""Training steps of two small networks, compiled by the real TPU compiler."""

import importlib.util
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from netzoo.cli.plan.accelerator import fits, measure, used_bytes
from netzoo.cli.plan.topology import parse_target
from netzoo.config import default_config

pytestmark = [
    pytest.mark.tpu_aot,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason="the TPU compiler is not installed: pip install 'netzoo[tpu-aot]'",
    ),
]


def small(name, **options):
    """Return a configuration of a small network for images of 32 pixels."""
    config = default_config()
    config.model.update(name=name, dtype="bfloat16", **options)
    config.data.image_size = 32
    config.train.batch_size = 32
    return config


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Remember programs in a folder of the test, so that the compiler really runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_convolutions_on_one_chip_and_again_from_the_cache():
    """Protects the whole path: state and batch are arguments, the state is donated."""
    config, target = small("mobilenet_v1", width_multiplier=0.25), parse_target("tpu:v5e:1x1")
    found = measure(config, target, 5, None)
    assert fits(found)
    program = found["program"]
    images = 32 * 32 * 32 * 3
    # XLA pads arrays to tiles of 4 KiB, and netzoo counts them as they are.
    assert found["state"] + images <= program["arguments"] < 4 * found["state"] + 2**20
    assert program["alias"] > 0.9 * found["state"]
    assert program["sent"] == {}
    assert found["flops"] > 1e6 and program["bytes"] > found["state"]
    assert used_bytes(found) < 2**28
    assert measure(config, target, 5, None) == found, "seconds included: it was remembered"


def test_shared_parameters_on_four_chips():
    """Protects the reading of collectives: sharded parameters are gathered and scattered."""
    config = small("vit_ti16")
    config.sharding.fsdp = -1
    found = measure(config, parse_target("tpu:v5e:2x2"), 5, None)
    assert fits(found)
    sent = found["program"]["sent"]
    assert sent["reduce-scatter"] > 0
    assert found["program"]["collectives"]["all-gather"] < 20, "parts of one count once"
    assert sent["all-gather"] > 0.5 * 3 / 4 * found["parameters"] / 2  # in bfloat16
    assert found["state"] < 0.5 * 3 * found["parameters"]
    assert found["repeated"] > 0, "the blocks are a loop"


def test_training_ignores_a_compiler_without_a_tpu():
    """Protects users who install the extra on a laptop: no delay, and no message of libtpu."""
    code = "from netzoo.cli import libtpu; libtpu.keep_quiet(); import jax; print(jax.devices())"
    # JAX itself sets the variables of a TPU in this process.
    given = {name: text for name, text in os.environ.items() if not name.startswith("TPU_")}
    environment = {name: text for name, text in given.items() if name != "JAX_PLATFORMS"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and done.stdout


def test_data_parallelism_on_four_chips():
    """Protects the claims of docs/scaling.md: chips send sums, and no activations or parameters.

    Statistics of each chip's examples need no sum between layers, forward or backward.
    """
    config = small("mobilenet_v1", width_multiplier=0.25)
    norms = 27
    for groups in (1, 4):
        config.train.batch_norm_groups = groups
        found = measure(config, parse_target("tpu:v5e:2x2"), 5, None)["program"]
        assert found["sent"].keys() == {"all-reduce"}
        sums = found["collectives"]["all-reduce"]
        assert sums >= 2 * norms if groups == 1 else sums <= 3


def test_the_process_keeps_its_devices():
    """Protects the caller: libtpu is loaded in another process alone."""
    assert jax.devices()[0].platform == "cpu"
    assert jnp.ones(2).sum() == 2
