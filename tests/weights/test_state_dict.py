"""Keras's names: equal logits, and an exact round trip."""

import functools
import json

import chex
import flax.traverse_util
import jax
import numpy as np
import pytest

from netzoo.models import create_model
from netzoo.weights.families import layouts
from netzoo.weights.state_dict import make_layout, to_tensors, to_variables
from tests.conftest import fast_only
from tests.weights import keras_logits

NETWORKS = [name for name, _, _ in keras_logits.NETWORKS]


@functools.cache
def drawn(name):
    """Return a network with Keras's options, its layout, and variables and tensors of Keras."""
    options = {"padding": "same", "norm_epsilon": 1e-3}
    model = create_model(name, num_classes=keras_logits.NUM_CLASSES, **options)
    shapes = jax.eval_shape(
        lambda key: model.init(key, keras_logits.images(), train=False), jax.random.key(0)
    )
    layout = layouts(model)["keras"](model, shapes)
    names = json.loads(keras_logits.PATH.read_text())[name]["tensors"]
    tensors = {n: keras_logits.draw(n, tuple(shape)) for n, shape in names.items()}
    return model, layout, to_variables(tensors, layout, shapes, name), tensors


@pytest.mark.parametrize("name", fast_only(NETWORKS, ["mobilenet_v1_025"]))
def test_logits_of_keras(name):
    """Keras's weights, with padding "same" and epsilon 1e-3, give the logits of Keras."""
    model, _, variables, _ = drawn(name)
    apply = jax.jit(lambda variables, images: model.apply(variables, images, train=False))
    logits = apply(variables, keras_logits.images())
    expected = np.asarray(json.loads(keras_logits.PATH.read_text())[name]["logits"])
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", NETWORKS)
def test_names_lose_nothing(name):
    """Every Keras tensor survives a round trip unchanged."""
    _, layout, variables, tensors = drawn(name)
    chex.assert_trees_all_equal(to_tensors(variables, layout), tensors)


def test_other_number_of_classes_leaves_the_classifier_out():
    """ImageNet's classifier, a convolution in Keras, does not fit five classes; the rest does."""
    _, layout, variables, tensors = drawn("mobilenet_v1_025")
    tensors = tensors | {
        "conv_preds/kernel": np.zeros((1, 1, 256, 1000), np.float32),
        "conv_preds/bias": np.zeros(1000, np.float32),
    }
    found = flax.traverse_util.flatten_dict(to_variables(tensors, layout, variables, "weights"))
    everything = flax.traverse_util.flatten_dict(variables)
    assert set(everything) - set(found) == {
        ("params", "logits", "kernel"),
        ("params", "logits", "bias"),
    }


def test_a_scalar_keeps_its_shape():
    """Protects variables without axes, such as a learned temperature, in both directions."""
    variables = {"params": {"head": {"scale": np.float32(0.5)}, "stem": {"bias": np.ones(3, "f4")}}}
    layout = make_layout(variables, {"head": "h", "stem": "s"}, head=())
    tensors = to_tensors(variables, layout)
    assert {name: x.shape for name, x in tensors.items()} == {"h.weight": (), "s.bias": (3,)}
    chex.assert_trees_all_equal(to_variables(tensors, layout, variables, "a file"), variables)


def test_every_module_needs_a_name():
    """A layer without a name is a mistake in the table, not a tensor to leave out."""
    shapes = {"params": {"stem_norm": {"scale": np.ones(8)}}}
    with pytest.raises(KeyError, match="stem_norm"):
        make_layout(shapes, {})
