"""The quick form of the lesson on ViT.

Ten steps of a tiny network show nothing about attention or positions. These tests check what holds
for every network: the numbers before the training, and that only the position embedding tells the
network the order of the patches.
"""

import jax
import numpy as np
import pytest

from netzoo.models.vit import Variant, ViT
from netzoo.teaching import initial_variables, normalize, tiles


@pytest.fixture(scope="module")
def lesson(quick_numbers):
    return quick_numbers("vit")


def test_before_training_positions_are_unrelated_and_attention_is_even(lesson):
    lesson, numbers = lesson
    similarity = numbers["similarity before training"].reshape(64, 64)
    np.testing.assert_allclose(similarity.diagonal(), 1, rtol=1e-6)
    assert abs(similarity[~np.eye(64, dtype=bool)].mean()) < 0.02
    rows, columns = np.indices((8, 8)).reshape(2, 64, 1)
    even = np.hypot(rows - rows.T, columns - columns.T).mean()  # patches, with all pairs alike
    np.testing.assert_allclose(even, 4.14, atol=0.005)  # the page says so
    np.testing.assert_allclose(numbers["reach before training"], 4 * even, rtol=0.1)
    filters = numbers["filters before training"][0].reshape(24, -1)
    np.testing.assert_allclose(np.linalg.norm(filters[:-1], axis=1), 1, rtol=1e-5)


def test_the_rollout_and_the_curves_are_in_range(lesson):
    lesson, numbers = lesson
    np.testing.assert_allclose(numbers["maps"].max((2, 3)), 1)
    curves = np.stack([numbers[name] for name in ("random", "centre first", "rollout")])
    assert curves.shape == (3, 1, 17)
    # The image is whole at first, and at last wholly of one colour, whatever the order.
    np.testing.assert_allclose(curves[..., [0, -1]] - curves[:1, :, [0, -1]], 0, atol=1e-6)
    assert np.ptp(curves[:, 0, 8]) > 1e-5


def test_claims_and_figures(lesson):
    lesson, numbers = lesson
    assert [claim.verdict for claim in lesson.claims(numbers)]
    assert set(lesson.draw(numbers)) == {"positions", "patches", "inside", "rollout"}


def test_without_a_position_embedding_the_order_of_the_patches_is_unknown():
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (16, 4, 4, 3), np.uint8)
    images = np.stack(
        [tiles(patches[order], 4, gap=0) for order in (range(16), rng.permutation(16))]
    )
    model = ViT(Variant(16, 2, 16, 2, 4), 0)
    variables = initial_variables(model, images)
    logits = jax.jit(lambda variables: model.apply(variables, normalize(images), train=False))
    one, other = logits(variables)
    assert abs(one - other).max() > 1e-3
    variables["params"]["position_embedding"] *= 0
    one, other = logits(variables)
    np.testing.assert_allclose(one, other, atol=1e-5)
