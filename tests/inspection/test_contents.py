"""Kernels, position embeddings, BatchNorm, feature maps and histograms: the arrays."""

import jax
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.inspection import (
    Layer,
    activation_histograms,
    batch_norm_statistics,
    feature_maps,
    first_kernels,
    kernel_components,
    position_similarity,
)
from netzoo.inspection.activations import feature_layer
from netzoo.layers import ENDPOINTS
from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from tests.inspection.small import small_images, small_predictor, vit_predictor

IMAGES = small_images(5)


@pytest.fixture(scope="module")
def conv():
    return small_predictor()


def test_first_kernels(conv):
    """The kernels come first, with height, width and colour."""
    kernel = np.asarray(conv.variables["params"]["stem"]["kernel"])
    kernels = first_kernels(conv.variables)
    assert kernels.shape == (6, 3, 3, 3)
    np.testing.assert_array_equal(kernels[4], kernel[..., 4])
    assert first_kernels(vit_predictor().variables).shape == (16, 8, 8, 3)
    with pytest.raises(UserError, match="no kernels of three channels"):
        first_kernels({"params": {"dense": {"kernel": np.zeros((3, 4))}}})


def test_kernel_components():
    """Two orthonormal patterns, of which the first varies more, come back in this order."""
    rng = np.random.default_rng(0)
    patterns = np.linalg.qr(rng.normal(size=(12, 2)))[0].T
    amounts = np.array([[3, 1], [3, -1], [-3, 1], [-3, -1]])  # uncorrelated, with means of 0
    flat = 5 + amounts @ patterns  # the components ignore what all kernels share
    kernel = np.moveaxis(flat.reshape(4, 2, 2, 3), 0, -1)
    found = kernel_components({"params": {"conv": {"kernel": kernel}}}, 2)
    assert found.shape == (2, 2, 2, 3)
    np.testing.assert_allclose(abs(found.reshape(2, 12) @ patterns.T), np.eye(2), atol=1e-5)


def test_position_similarity():
    """Row by row, without the class token: a patch is similar to itself."""
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(4, 8))
    embedding = np.concatenate([rng.normal(size=(1, 8)), patches])[None]
    params = {"position_embedding": embedding, "class_token": np.zeros((1, 1, 8))}
    similarity = position_similarity({"params": params})
    assert similarity.shape == (2, 2, 2, 2)
    np.testing.assert_allclose(similarity.reshape(4, 4).diagonal(), 1, rtol=1e-6)
    params["position_embedding"] = patches[None]  # only the patches have positions
    np.testing.assert_array_equal(position_similarity({"params": params}), similarity)
    first, third = patches[0], patches[2]
    expected = first @ third / np.linalg.norm(first) / np.linalg.norm(third)
    np.testing.assert_allclose(similarity[0, 0, 1, 0], expected, rtol=1e-6)
    with pytest.raises(UserError, match="5 patches of the position embedding are not a square"):
        position_similarity({"params": {"position_embedding": embedding}})
    with pytest.raises(UserError, match="no position embedding; expected a Vision Transformer"):
        position_similarity({"params": {}})


@pytest.mark.slow
def test_batch_norm_statistics_are_in_the_order_of_computation():
    """In a block, the expanding convolution comes before the depthwise one, not after."""
    model = create_model("mobilenet_v2_035", 5)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.random(leaf.shape, np.float32), variable_shapes(model, 32)
    )
    found = batch_norm_statistics(model, variables, 32)
    names = list(found)
    assert names[0].startswith("stem") and names[-1].startswith("head")
    second = [name.split("/")[1] for name in names if name.startswith("stage2_block1/")]
    assert [name.split("_")[0] for name in second] == ["expand", "depthwise", "project"]
    assert len(names) == len(jax.tree.leaves(variables["batch_stats"])) // 2
    last = found[names[-1]]
    path = names[-1].split("/")
    leaf = variables["batch_stats"]
    for part in path:
        leaf = leaf[part]
    np.testing.assert_array_equal(last.var, leaf["var"])
    with pytest.raises(UserError, match="MobileNetV2 has no statistics of BatchNorm"):
        batch_norm_statistics(model, {"params": variables["params"]}, 32)


@pytest.mark.slow
def test_feature_maps_are_the_endpoints(conv):
    """The batch is padded, and tokens are on their grid."""
    images = conv.preprocessing.normalize(IMAGES)
    for predictor, layer, token in ((conv, "stem", 0), (vit_predictor(), "encoder/block2", 1)):
        state = jax.jit(
            lambda v, x, model=predictor.model: model.apply(v, x, train=False, mutable=[ENDPOINTS])[
                1
            ]
        )(predictor.variables, images)
        expected = np.asarray(state[ENDPOINTS][layer])
        got = feature_maps(predictor, IMAGES, layer)
        if token:
            expected = expected[:, 1:].reshape(got.shape)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_default_of_feature_maps():
    """The default is the last layer of stride 4, or else that of Grad-CAM."""
    layers = [Layer(f"stage{i}", (64 // 2**i, 64 // 2**i, 8), "float32") for i in range(1, 6)]
    assert feature_layer(layers, 64).name == "stage2"
    assert feature_layer(layers[3:], 64).name == "stage5"


def test_histograms_count_every_activation(conv):
    """Layers are in order, zeros are those behind ReLU, and the bins hold all values."""
    found = activation_histograms(conv, IMAGES, bins=10)
    assert list(found) == ["stem", "stage1/block1", "pre_logits"]
    stem = feature_maps(conv, IMAGES, "stem")
    histogram = found["stem"]
    assert histogram.counts.sum() == stem.size and len(histogram.edges) == 11
    assert histogram.counts[:5].sum() == 0  # nothing is below 0
    np.testing.assert_allclose(histogram.zeros, (stem == 0).mean())
    assert 0.05 < histogram.zeros < 0.95
    np.testing.assert_allclose(histogram.mean, stem.mean(), rtol=1e-4)
    np.testing.assert_allclose(histogram.deviation, stem.std(), rtol=1e-4)
