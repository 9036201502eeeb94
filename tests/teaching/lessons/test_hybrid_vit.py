"""The quick form of the lesson on the hybrid.

A few steps of training show nothing about accuracy. These tests check what makes the
difference in the full form: only BatchNorm mixes the images of a batch, and only a standardised
kernel loses its scale.
"""

import jax
import numpy as np
import pytest

from netzoo.layers import BatchNorm, Conv, GroupNorm
from netzoo.models.hybrid_vit import StandardizedConv
from netzoo.teaching.record import read_numbers
from tests.teaching.conftest import RESULTS


@pytest.fixture(scope="module")
def lesson(quick_numbers):
    return quick_numbers("hybrid_vit")


def test_numbers_and_figures(lesson):
    lesson, numbers = lesson
    assert len(lesson.claims(numbers)) == 6
    assert set(lesson.draw(numbers)) == {"budget", "norms"}
    assert numbers["accuracy/ViT"].shape == numbers["accuracy/hybrid"].shape == (1, 4)
    assert numbers["BatchNorm"].shape == numbers["GroupNorm"].shape == (1, 1)


def test_the_cost_of_the_networks_by_hand(lesson):
    """Multiply-adds of an epoch, for images of 16 pixels, which are 4 patches."""
    lesson, numbers = lesson
    tokens, width = 5, 96
    block = tokens * (4 * width**2 + 2 * width * 192) + 2 * tokens**2 * width
    transformer = 4 * block + width * 5
    vit = transformer + 4 * 8 * 8 * 3 * width
    assert numbers["cost/ViT"] == 3 * 32 * vit
    stem = 8 * 8 * 7 * 7 * 3 * 64
    bottleneck = 4 * 4 * (64 * 64 + 9 * 64 * 64 + 64 * 256 + 64 * 256)
    hybrid = transformer + stem + bottleneck + 4 * 2 * 2 * 256 * width
    assert numbers["cost/hybrid"] == 3 * 32 * hybrid


@pytest.mark.parametrize("norm, mixes", [(BatchNorm(), True), (GroupNorm(2), False)])
def test_only_batch_norm_mixes_the_images_of_a_batch(norm, mixes):
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 6)).astype(np.float32)
    other = x * np.array([1, 3], np.float32)[:, None, None, None]
    variables = norm.init(jax.random.key(0), x, train=True)
    one, two = (
        norm.apply(variables, y, train=True, mutable=["batch_stats"])[0] for y in (x, other)
    )
    assert (abs(one[0] - two[0]).max() > 0.1) == mixes


def test_only_a_standardised_kernel_loses_its_scale_and_its_mean():
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 4)).astype(np.float32)
    for conv, loses in ((StandardizedConv(3, 3), True), (Conv(3, 3), False)):
        variables = conv.init(jax.random.key(0), x)
        changed = jax.tree.map(lambda kernel: 3 * kernel + 1, variables)
        same = abs(conv.apply(variables, x) - conv.apply(changed, x)).max() < 1e-3
        assert same == loses


def test_the_page_says_what_the_record_shows():
    numbers = read_numbers(RESULTS / "hybrid_vit")
    gap = (numbers["accuracy/hybrid"] - numbers["accuracy/ViT"]).mean(0)
    assert (gap[1:9] < 0).all()  # the ViT is ahead for eight epochs
    assert (gap[9:] > 0).all()
    assert numbers["accuracy/ViT"].mean(0).argmax() == 10
    assert round(float(numbers["cost/hybrid"] / numbers["cost/ViT"]), 1) == 2.5
    batch, plain, standardised = (
        numbers[name].mean(0)
        for name in ("BatchNorm", "GroupNorm", "GroupNorm, standardised kernels")
    )
    assert (plain < batch)[1:].all()
    assert (standardised > batch).all()
