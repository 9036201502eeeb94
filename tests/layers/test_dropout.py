"""Dropout: rate, scaling and the quality of its random numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.layers import Dropout, DropPath
from netzoo.layers.dropout import _hash

SHAPE = (64, 8, 512)


def dropped(rate, seed, x=None):
    """The layer, applied to ones."""
    x = jnp.ones(SHAPE) if x is None else x
    return Dropout(rate).apply({}, x, train=True, rngs={"dropout": jax.random.key(seed)})


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.7])
def test_share_and_scale(rate):
    """The share of zeros is the rate, within five standard errors, and the mean stays."""
    y = np.asarray(dropped(rate, 0))
    share = (y == 0).mean()
    assert abs(share - rate) < 5 * np.sqrt(rate * (1 - rate) / y.size)
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-6)


def test_masks_are_uncorrelated_between_keys_and_neighbours():
    """Masks do not correlate with those of the next key, element, row or example."""
    masks = [np.asarray(dropped(0.5, seed)) > 0 for seed in range(8)]
    pairs = [*itertools.pairwise(masks)]
    pairs += [(m[..., 1:], m[..., :-1]) for m in masks]
    pairs += [(m[:, 1:], m[:, :-1]) for m in masks]
    pairs += [(m[1:], m[:-1]) for m in masks]
    for a, b in pairs:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)
    # Detects channels or examples that are kept more often than others.
    for axes in [(0, 1), (1, 2), (0, 2)]:
        shares = np.mean(masks, axis=(0, *(axis + 1 for axis in axes)))
        count = len(masks) * np.prod([SHAPE[axis] for axis in axes])
        assert np.abs(shares - 0.5).max() < 5 * np.sqrt(0.25 / count)


def test_masks_have_not_changed():
    """Pins the masks: with others, a run would not continue as it began."""
    x = jnp.arange(1, 49, dtype=jnp.float32).reshape(4, 3, 4)
    zeros = np.flatnonzero(np.asarray(dropped(0.3, 0, x)) == 0)
    assert zeros.tolist() == [1, 4, 6, 8, 14, 16, 20, 21, 22, 25, 27, 30, 35, 39, 40, 41, 44, 46]


@pytest.mark.parametrize("word", [0, 1, 2, 12345, 0xDEADBEEF, 0xFFFFFFFF])
def test_the_hash_is_murmur3s(word):
    """Protects the quality of the random numbers: the hash ends with the reference's constants."""
    expected = word
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        expected = (expected ^ (expected >> shift)) * factor % 2**32
    expected ^= expected >> 16
    assert int(_hash(jnp.uint32(word))) == expected


def test_gradient_uses_the_same_mask():
    """The backward pass recomputes the same mask."""
    y, pull_back = jax.vjp(lambda x: dropped(0.3, 1, x), jnp.ones(SHAPE))
    np.testing.assert_array_equal(pull_back(jnp.ones(SHAPE))[0], y)


def test_does_nothing_where_it_should_not():
    """Without `train` or at rate 0, no key is needed and nothing changes; rate 1 returns zeros."""
    x = jnp.arange(8.0)
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, train=False), x)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, x, train=True), x)
    assert not np.asarray(dropped(1.0, 0)).any()


def test_a_path_is_dropped_for_whole_examples():
    """Protects stochastic depth: for a whole example, a branch is kept and scaled, or dropped."""
    x = jnp.ones((2000, 3, 2))
    rngs = {"dropout": jax.random.key(0)}
    y = np.asarray(DropPath(0.3).apply({}, x, train=True, rngs=rngs)).reshape(len(x), -1)
    assert (y == y[:, :1]).all()
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)
    assert abs((y[:, 0] == 0).mean() - 0.3) < 0.04
    np.testing.assert_array_equal(DropPath(0.3).apply({}, x, train=False), x)
