"""The common behaviour of the MobileNets."""

import re
from typing import NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.layers import BatchNorm, Conv, Dropout
from netzoo.models import create_model
from tests.models.drawn import drawn


class Network(NamedTuple):
    """A narrow network and its properties."""

    name: str
    width: float
    image_size: int  # large enough for nontrivial batch statistics
    features: tuple[str, int]  # name and width of `pre_logits`
    dropout_rate: float


NETWORKS = (
    # The authors' 0.999 is the probability of keeping an element.
    Network("mobilenet_v1", 0.25, 32, ("mobilenet_v1_025", 256), 0.001),
    Network("mobilenet_v2", 0.35, 64, ("mobilenet_v2", 1280), 0.2),
    Network("mobilenet_v3_small", 0.35, 64, ("mobilenet_v3_small", 1024), 0.2),
)


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network.name)
def network(request):
    return request.param


@pytest.fixture(scope="module")
def small(network):
    """Make the network with five classes."""

    def make(**options):
        return create_model(network.name, num_classes=5, width_multiplier=network.width, **options)

    return make


def shapes(model, method="init"):
    """Return what `init` would, as shapes."""
    images = jnp.zeros((2, 32, 32, 3))
    return jax.eval_shape(
        lambda key: getattr(model, method)(key, images, train=False), jax.random.key(0)
    )


@pytest.fixture(scope="module")
def images(network):
    side = network.image_size
    return jax.random.normal(jax.random.key(1), (4, side, side, 3))


@pytest.fixture(scope="module")
def variables(small):
    return drawn(shapes(small()))


@pytest.fixture(scope="module")
def evaluated(small, variables, images):
    """Return logits without and with endpoints, compiled together to save time."""

    def forward(variables, images):
        return (
            small().apply(variables, images, train=False),
            small().apply(variables, images, train=False, mutable=["endpoints"]),
        )

    return jax.jit(forward)(variables, images)


def test_asking_for_endpoints_changes_nothing(variables, evaluated):
    """Endpoints do not change the logits, which follow from `pre_logits`."""
    logits, (asked, state) = evaluated
    np.testing.assert_allclose(logits, asked, rtol=1e-5, atol=1e-6)
    assert np.ptp(logits, axis=0).min() > 1e-3  # the logits depend on the images
    dense = variables["params"]["logits"]
    computed = state["endpoints"]["pre_logits"] @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(logits, computed, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_bfloat16(small, variables, images, evaluated):
    """Half precision gives finite float32 logits close to those of full precision."""
    logits, _ = evaluated
    apply = jax.jit(lambda v, x: small(dtype=jnp.bfloat16).apply(v, x, train=False))
    half = apply(variables, images)
    assert half.dtype == logits.dtype == jnp.float32
    np.testing.assert_allclose(half, logits, atol=0.1 * np.abs(logits).max())


@pytest.mark.slow  # tests/parity compares the gradient of every parameter
def test_every_parameter_is_trained(small, variables, images):
    """All gradients are finite and nonzero, and all statistics change."""

    def loss(params, key):
        logits, state = small().apply(
            {**variables, "params": params},
            images,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        return (logits * jnp.arange(5)).sum(), state

    gradients, state = jax.jit(jax.grad(loss, has_aux=True))(variables["params"], jax.random.key(0))
    for path, leaf in flax.traverse_util.flatten_dict(gradients).items():
        assert np.isfinite(leaf).all() and np.any(leaf), path
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), state["batch_stats"], variables["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))


def test_without_classes_it_gives_features(network):
    """`num_classes=0` returns the features before the logits, without their parameters."""
    name, width = network.features
    features, tree = shapes(create_model(name, num_classes=0), method="init_with_output")
    assert (features.shape, features.dtype) == ((2, width), jnp.float32)
    assert "logits" not in tree["params"]


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_too_small_image_is_an_error_before_compilation(small, size):
    """Tracing raises an error for images that are too small, with the minimum size."""
    with pytest.raises(UserError, match=rf"{size[0]}x{size[1]}.*at least 32x32"):
        jax.eval_shape(
            lambda key: small().init(key, jnp.zeros((1, *size, 3)), train=False),
            jax.random.key(0),
        )


def test_options_arrive_in_every_layer(network, small):
    """Padding, epsilon and momentum reach every layer."""
    seen = set()

    def note(next_call, args, kwargs, context):
        layer = context.module
        if isinstance(layer, BatchNorm):
            seen.add(("norm", layer.momentum, layer.epsilon, layer.dtype))
        if isinstance(layer, Conv):
            seen.add(("conv", layer.padding, layer.use_bias, layer.dtype))
        if isinstance(layer, Dropout):
            seen.add(("dropout", layer.rate))
        return next_call(*args, **kwargs)

    with nn.intercept_methods(note):
        shapes(small(norm_momentum=0.5, norm_epsilon=2e-4, padding="same", dtype=jnp.bfloat16))
    assert seen == {
        ("norm", 0.5, 2e-4, jnp.bfloat16),
        ("conv", "same", False, jnp.bfloat16),
        ("dropout", network.dropout_rate),
    }


def test_training_on_cpu_has_no_grouped_convolution(small, variables, images):
    """Every layer has its fast CPU implementation, forward and backward."""

    def loss(params):
        logits, _ = small(dropout_rate=0.0).apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return logits.sum()

    lowered = jax.jit(jax.grad(loss)).trace(variables["params"]).lower(lowering_platforms=("cpu",))
    groups = re.findall(r"(?:feature|batch)_group_count = (\d+)", lowered.as_text())
    assert groups and set(groups) == {"1"}
