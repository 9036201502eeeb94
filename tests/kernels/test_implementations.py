"""CPU and native implementations equal the layers of XLA and flax.

Values and gradients are compared over random shapes: compiled, under `vmap`, as gradients of
gradients, and sharded over eight devices. Tolerances are relative to the largest value: 1e-5 is
about a hundred float32 roundings, and sums have at most a few thousand terms.
"""

import functools
import os
import subprocess
import sys

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from netzoo import kernels
from netzoo.kernels.conv import convolve
from netzoo.kernels.windows import Window
from netzoo.layers import BatchNorm, Conv, Dropout, GroupNorm, gelu, max_pool
from tests.conftest import slow
from tests.training.runs import ROOT

TOLERANCE = 1e-5
CHANNELS = 16


def native_conv(kernel_size, stride, dilation, groups):
    """XLA's convolution, of a kernel with as many features as channels."""
    pads = ((dilation * (kernel_size - 1) // 2,) * 2,) * 2

    def convolve(kernel, x):
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            pads,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    return convolve


def conv(kernel_size, stride, dilation, groups):
    """The same by netzoo's layer."""
    layer = Conv(CHANNELS, kernel_size, stride=stride, groups=groups, dilation=dilation)
    return lambda kernel, x: layer.apply({"params": {"kernel": kernel}}, x)


def normalize(layer, reference):
    """Both norms as functions of `(scale, x)`."""
    return (
        lambda scale, x: layer({"params": {"scale": scale, "bias": scale / 2}}, x),
        lambda scale, x: reference({"params": {"scale": scale, "bias": scale / 2}}, x),
    )


def native_pool(window, stride):
    """XLA's max-pooling, of images times a factor."""
    half = (window - 1) // 2
    return lambda factor, x: nn.max_pool(
        x * factor, (window, window), (stride, stride), ((half, half),) * 2
    )


BATCH_STATS = {"mean": jnp.zeros(CHANNELS), "var": jnp.ones(CHANNELS)}


def batch_norm(layer, **options):
    def apply(variables, x):
        variables = {**variables, "batch_stats": BATCH_STATS}
        return layer.apply(variables, x, mutable=["batch_stats"], **options)[0]

    return apply


# Name: netzoo's function of (parameter, images), the plain one, shape of the parameter.
LAYERS = {
    f"conv{k}x{k} stride {s} dilation {d} groups {g}": (
        conv(k, s, d, g),
        native_conv(k, s, d, g),
        (k, k, CHANNELS // g, CHANNELS),
    )
    for k, s, d, g in [
        (1, 1, 1, 1),
        (1, 2, 1, 1),
        (3, 1, 1, 1),
        (3, 2, 1, 1),
        (5, 2, 2, 1),
        (3, 1, 1, CHANNELS),
        (3, 2, 1, CHANNELS),
        (5, 1, 1, CHANNELS),
        (5, 2, 2, CHANNELS),
        (3, 1, 1, 2),
        (3, 2, 1, 8),
    ]
} | {
    "conv of patches": (
        lambda kernel, x: convolve(x, kernel, Window(stride=4)),
        lambda kernel, x: lax.conv_general_dilated(
            x, kernel, (4, 4), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        (4, 4, CHANNELS, CHANNELS),
    ),
    "batch norm": (
        *normalize(
            batch_norm(BatchNorm(), train=True),
            batch_norm(nn.BatchNorm(momentum=0.9), use_running_average=False),
        ),
        (CHANNELS,),
    ),
    "group norm": (*normalize(GroupNorm(4).apply, nn.GroupNorm(4).apply), (CHANNELS,)),
    "max pool 3 stride 1": (
        lambda factor, x: max_pool(x * factor, 3, 1),
        native_pool(3, 1),
        (CHANNELS,),
    ),
    "max pool 2 stride 2": (
        lambda factor, x: max_pool(x * factor, 2, 2, padding=0),
        native_pool(2, 2),
        (CHANNELS,),
    ),
    "max pool 3 stride 2": (
        lambda factor, x: max_pool(x * factor, 3, 2),
        native_pool(3, 2),
        (CHANNELS,),
    ),
    "gelu": (
        lambda factor, x: gelu(x * factor),
        lambda factor, x: nn.gelu(x * factor, approximate=False),
        (CHANNELS,),
    ),
    "gelu by tanh": (
        lambda factor, x: gelu(x * factor, approximate=True),
        lambda factor, x: nn.gelu(x * factor),
        (CHANNELS,),
    ),
}
# Those whose native gradient XLA can differentiate.
TWICE = [name for name in LAYERS if "max pool" not in name]


def inputs(shape, seed, leading=()):
    """A parameter and images."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(5, 14, 2)
    return (
        jnp.asarray(rng.normal(size=shape), jnp.float32),
        jnp.asarray(rng.normal(size=(*leading, 8, height, width, CHANNELS)), jnp.float32),
    )


def value_and_gradients(function, parameter, x):
    """The output, and both gradients of a sum of it with fixed weights."""

    def loss(parameter, x):
        y = function(parameter, x)
        return jnp.sum(y * jnp.cos(jnp.arange(y.size).reshape(y.shape))), y

    gradients, y = jax.grad(loss, argnums=(0, 1), has_aux=True)(parameter, x)
    return y, *gradients


def assert_close(ours, theirs, tolerance=TOLERANCE):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * float(jnp.abs(b).max()))


@pytest.mark.parametrize(
    ("backend", "seed"), [("cpu", 0), slow("cpu", 1), slow("cpu", 2), ("native", 0)]
)
@pytest.mark.parametrize("name", LAYERS)
def test_values_and_gradients_are_those_of_the_plain_layer(name, backend, seed):
    """Values and gradients equal those of the plain layer."""
    ours, theirs, shape = LAYERS[name]
    arguments = inputs(shape, seed)
    with kernels.use_backend(backend):
        actual = jax.jit(functools.partial(value_and_gradients, ours))(*arguments)
    expected = jax.jit(functools.partial(value_and_gradients, theirs))(*arguments)
    assert_close(actual, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_vmap_is_a_loop(name):
    """The hand-written gradients batch."""
    ours, _, shape = LAYERS[name]
    parameter, x = inputs(shape, 0, leading=(2,))
    function = jax.jit(functools.partial(value_and_gradients, ours))
    batched = jax.vmap(function, in_axes=(None, 0))(parameter, x)
    looped = jax.tree.map(lambda *ys: jnp.stack(ys), *(function(parameter, part) for part in x))
    assert_close(batched, looped)


@pytest.mark.slow
@pytest.mark.parametrize("name", TWICE)
def test_gradients_of_gradients_are_those_of_the_plain_layer(name):
    """Second derivatives are correct; terms cancel, hence 1e-4."""
    ours, theirs, shape = LAYERS[name]
    arguments = inputs(shape, 0)

    def penalty(function):
        def norm(parameter, x):
            return sum(jnp.vdot(g, g) for g in value_and_gradients(function, parameter, x)[1:])

        return jax.jit(jax.grad(norm, argnums=(0, 1)))

    assert_close(penalty(ours)(*arguments), penalty(theirs)(*arguments), 1e-4)


@pytest.mark.slow  # the fast test of BatchNorm on many devices is test_sharding.py's
def test_eight_devices_compute_what_one_does():
    """Statistics of BatchNorm and masks of dropout are those of the global batch."""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    subprocess.run(
        [sys.executable, "-m", "tests.kernels.test_implementations"],
        cwd=ROOT,
        check=True,
        env=environment,
    )


def compare_devices():
    """Run in a process with eight devices."""
    mesh = jax.sharding.Mesh(jax.devices(), ("data",))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    chex.assert_equal(len(jax.devices()), 8)

    def drop(factor, x):
        key = jax.random.key(0)
        return Dropout(0.3).apply({}, x * factor, train=True, rngs={"dropout": key})

    for ours, _, shape in [*LAYERS.values(), (drop, None, (CHANNELS,))]:
        parameter, x = inputs(shape, 0)
        function = jax.jit(functools.partial(value_and_gradients, ours))
        assert_close(function(parameter, jax.device_put(x, spread)), function(parameter, x))


if __name__ == "__main__":
    compare_devices()
