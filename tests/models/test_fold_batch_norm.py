"""Folding BatchNorm into convolutions keeps the logits and removes all norms."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netzoo
from netzoo.errors import UserError
from netzoo.layers import BatchNorm, Conv
from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from tests.conftest import fast_only, own_networks

# Small networks of every structure, with their options.
NETWORKS = {
    "googlenet_bn": {},
    "mobilenet_v1_025": {},
    "mobilenet_v2_035": {},
    "mobilenet_v3_small": {"width_multiplier": 0.35},
    "resnet18": {},
    "resnext50_32x4d": {},
    "vgg11_bn": {"hidden_features": 16},
}
# Convolutions without and with a bias.
FAST = ("mobilenet_v1_025", "vgg11_bn")
SIZE = 32


class PreActivation(nn.Module):
    """A norm before a convolution, which cannot be folded, and a norm after it."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = nn.relu(BatchNorm(name="first_norm", dtype=self.dtype)(x, train=train))
        x = Conv(4, 3, name="conv", dtype=self.dtype)(x)
        return BatchNorm(name="conv_norm", dtype=self.dtype)(x, train=train)


def small(name, dtype=jnp.float32):
    return create_model(name, num_classes=5, dtype=dtype, **NETWORKS[name])


def draw(shapes):
    """Return trained-looking variables, float64: no scale, statistic or bias is trivial."""
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        if path[-1] == "kernel":
            return rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
        if path[-1] == "var":
            return rng.uniform(0.5, 2, shape)
        return (path[-1] == "scale") + 0.3 * rng.normal(size=shape)

    return flax.traverse_util.path_aware_map(lambda path, x: leaf(path, x.shape), shapes)


def evaluate(model, variables):
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, SIZE, SIZE, 3)))
    return jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)


@pytest.mark.parametrize("name", fast_only(NETWORKS, FAST))
def test_same_logits_without_normalisation(name):
    """Every norm is folded, and the logits change only by float64 rounding."""
    with jax.enable_x64(True):
        model = small(name, jnp.float64)
        variables = draw(variable_shapes(model, SIZE))
        folded_model, folded = netzoo.fold_batch_norm(model, variables)
        expected, logits = evaluate(model, variables), evaluate(folded_model, folded)
        assert np.ptp(expected, axis=0).min() > 1e-5 * np.abs(expected).max()  # images matter
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    assert set(folded) == {"params"}
    before, after = (
        set(flax.traverse_util.flatten_dict(tree["params"])) for tree in (variables, folded)
    )
    assert before - after == {path for path in before if path[-1] == "scale"}


def test_every_class_with_batch_norm_is_tested():
    """A new family with BatchNorm must be in the table above."""
    models = map(create_model, own_networks())
    with_norms = {type(model) for model in models if hasattr(model, "norm_momentum")}
    assert with_norms == {type(small(name)) for name in NETWORKS}


@pytest.mark.slow
def test_float32_and_bfloat16():
    """Dtypes are kept, and the folded network is as accurate as the original."""
    variables = draw(variable_shapes(small("mobilenet_v2_035"), SIZE))
    with jax.enable_x64(True):
        exact = evaluate(small("mobilenet_v2_035", jnp.float64), variables)
    variables = jax.tree.map(np.float32, variables)
    for dtype, tolerance in ((jnp.float32, 1e-5), (jnp.bfloat16, 0.1)):
        model, folded = netzoo.fold_batch_norm(small("mobilenet_v2_035", dtype), variables)
        assert {leaf.dtype for leaf in jax.tree.leaves(folded)} == {np.dtype(np.float32)}
        logits = evaluate(model, folded)
        assert logits.dtype == jnp.float32
        np.testing.assert_allclose(logits, exact, rtol=0, atol=tolerance * np.abs(exact).max())


def test_endpoints_have_their_names():
    """A folded network has the same endpoints."""
    model = small("mobilenet_v2_035")
    variables = draw(variable_shapes(model, SIZE))
    images = jnp.zeros((1, SIZE, SIZE, 3))

    def shapes(model, variables):
        return jax.eval_shape(
            lambda v: model.apply(v, images, train=False, mutable=["endpoints"]), variables
        )

    assert shapes(model, variables) == shapes(*netzoo.fold_batch_norm(model, variables))


def test_norm_that_follows_no_convolution_stays():
    """A norm that cannot be folded keeps its statistics."""
    with jax.enable_x64(True):
        model = PreActivation(dtype=jnp.float64)
        variables = draw(variable_shapes(model, SIZE))
        folded_model, folded = netzoo.fold_batch_norm(model, variables)
        assert set(folded["batch_stats"]) == {"first_norm"}
        np.testing.assert_allclose(
            evaluate(folded_model, folded), evaluate(model, variables), rtol=0, atol=1e-13
        )


@pytest.mark.parametrize("name", ["googlenet", "vgg11", "vit_ti16"])
def test_without_batch_norm_nothing_changes(name):
    """Any network can be folded."""
    model = create_model(name, num_classes=5)
    variables = variable_shapes(model, SIZE)
    returned_model, returned = netzoo.fold_batch_norm(model, variables)
    assert returned_model is model and returned is variables


class Flattened(nn.Module):
    """A classifier whose parameters depend on the image size."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = BatchNorm(name="conv_norm")(Conv(4, 3, name="conv")(x), train=train)
        return nn.Dense(2)(x.reshape(len(x), -1))


def test_parameters_may_depend_on_the_image_size():
    """A user's network can be folded for its image size only."""
    model = Flattened()
    variables = draw(variable_shapes(model, SIZE))
    folded = netzoo.fold_batch_norm(model, variables, SIZE)
    np.testing.assert_allclose(evaluate(*folded), evaluate(model, variables), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="Dense_0/kernel: expected"):
        netzoo.fold_batch_norm(model, variables, 2 * SIZE)


def test_folding_again_changes_nothing():
    """A folded network has no statistics and is returned unchanged."""
    model = small("mobilenet_v1_025")
    folded = netzoo.fold_batch_norm(model, draw(variable_shapes(model, SIZE)))
    again = netzoo.fold_batch_norm(*folded)
    assert again[0] is folded[0] and again[1] is folded[1]


def test_variables_of_another_network():
    """The error lists the differences with both shapes."""
    variables = variable_shapes(create_model("mobilenet_v1", num_classes=5), SIZE)
    with pytest.raises(UserError, match=r"MobileNetV1:\n.*: expected \(.*, got \("):
        netzoo.fold_batch_norm(small("mobilenet_v1_025"), variables)


def test_training_is_refused():
    """A folded network cannot be trained."""
    model = small("mobilenet_v1_025")
    model, variables = netzoo.fold_batch_norm(model, draw(variable_shapes(model, SIZE)))
    with pytest.raises(UserError, match="folded BatchNorm"):
        model.apply(variables, jnp.zeros((1, SIZE, SIZE, 3)), train=True)
