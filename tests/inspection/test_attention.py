"""Attention rollout and heads: by hand, and against the endpoints of a small network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.inspection import (
    attention_distance,
    attention_heads,
    attention_map,
    attention_rollout,
)
from netzoo.inspection.attention import rollout
from netzoo.layers import ENDPOINTS
from tests.conftest import slow
from tests.inspection.small import small_images, small_predictor, vit_predictor

IMAGES = small_images(5)


def test_rollout_by_hand():
    """Two tokens and two blocks: the first block stands at the right of the product."""
    first = jnp.array([[[0.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])  # two equal heads
    second = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])
    # [[1, 0], [.5, .5]] @ [[.5, .5], [0, 1]]
    np.testing.assert_array_equal(rollout([first, second]), [[0.5, 0.5], [0.25, 0.75]])


@pytest.mark.parametrize("pool", ["token", slow("gap")])
def test_rollout_heads_and_map_agree_with_the_endpoints(pool):
    """The batch is padded, blocks are in order, and the class token is not on the map."""
    predictor = vit_predictor(pool)
    apply = jax.jit(
        lambda v, x: predictor.model.apply(v, x, train=False, mutable=[ENDPOINTS])[1][ENDPOINTS]
    )
    seen = apply(predictor.variables, predictor.preprocessing.normalize(IMAGES))
    weights = [
        np.asarray(seen[f"encoder/block{block}/attention_weights"], np.float64)
        for block in (1, 2, 3)
    ]
    expected = np.eye(weights[0].shape[-1])
    for block in weights:
        expected = (block.mean(1) + np.eye(block.shape[-1])) / 2 @ expected
    flow = attention_rollout(predictor, IMAGES)
    np.testing.assert_allclose(flow, expected, atol=1e-6)
    np.testing.assert_allclose(flow.sum(-1), 1, atol=1e-5)

    distances = [[np.hypot(a // 3 - b // 3, a % 3 - b % 3) for b in range(9)] for a in range(9)]
    patches = np.stack([block[..., -9:, -9:] for block in weights], 1)
    patches /= patches.sum(-1, keepdims=True)
    expected_distance = 8 * (patches * distances).sum(-1).mean((0, 3))
    found = attention_distance(predictor, IMAGES)
    np.testing.assert_allclose(found, expected_distance, rtol=1e-5)

    own = expected[:, 0, 1:] if pool == "token" else expected.mean(1)
    maps, places = attention_map(predictor, IMAGES), slice(4, None, 8)  # centres of the patches
    assert maps.shape == (5, 24, 24)
    np.testing.assert_allclose(maps.max((1, 2)), 1, atol=1e-6)
    cells = own.reshape(5, 3, 3) / own.max(1)[:, None, None]
    # An even patch has no middle pixel, so its pixels mix with those of its neighbours a little.
    np.testing.assert_allclose(maps[:, places, places], cells, atol=0.1)

    for layer, block in ((None, weights[2]), ("encoder/block1", weights[0])):
        heads = attention_heads(predictor, IMAGES, layer)
        own = block[:, :, 0, 1:] if pool == "token" else block.mean(2)
        np.testing.assert_allclose(heads, own.reshape(5, 2, 3, 3), atol=1e-6)


def test_errors():
    """A network without attention and an unknown block are errors."""
    with pytest.raises(UserError, match="the network has no attention; expected a Vision"):
        attention_rollout(small_predictor(), IMAGES)
    with pytest.raises(UserError, match="unknown block with attention 'encoder/block4'; did you"):
        attention_heads(vit_predictor(), IMAGES, "encoder/block4")
