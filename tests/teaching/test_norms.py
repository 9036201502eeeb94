"""What BatchNorm finds beside what it expects."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from netzoo.layers import BatchNorm
from netzoo.teaching import normalize, variance_ratios


class TwoNorms(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        x = 2 * BatchNorm()(images, train=train)
        return BatchNorm()(x, train=train)


def test_ratio_is_the_variance_found_over_the_running_variance():
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), np.uint8)
    variance = np.asarray(normalize(images)).var((0, 1, 2))
    scale = jnp.array([0.5, -1.0, 3.0])  # the scale must not count
    statistics = {"mean": jnp.zeros(3), "var": 4 * variance}
    variables = {
        "params": {
            "BatchNorm_0": {"scale": scale, "bias": jnp.ones(3)},
            "BatchNorm_1": {"scale": jnp.ones(3), "bias": jnp.zeros(3)},
        },
        "batch_stats": {
            "BatchNorm_0": statistics,
            "BatchNorm_1": {"mean": jnp.zeros(3), "var": jnp.full(3, 2.0)},
        },
    }
    ratios = variance_ratios(TwoNorms(), variables, images)
    # The outputs of the first have variances of scale² / 4. The factor 2 makes them scale², whose
    # median is 1. The epsilon of 1e-5 is added to variances above 1.
    np.testing.assert_allclose(ratios, [1 / 4, 1 / 2], rtol=2e-5)
