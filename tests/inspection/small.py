"""A small network whose Grad-CAM can be computed by hand, and a Predictor of it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from netzoo.layers import endpoint, global_avg_pool
from netzoo.models import create_model
from netzoo.models.blocks import classifier
from netzoo.models.summary import variable_shapes
from netzoo.models.vit import Variant
from netzoo.tasks.classification.predictor import Predictor
from netzoo.weights.published import Preprocessing

SIZE, CLASSES = 24, ("daisy", "roses", "tulips")
PREPROCESSING = Preprocessing((120.0, 110.0, 100.0), (60.0,) * 3, SIZE, SIZE, "area")


class Small(nn.Module):
    """Two convolutions, and a linear layer after an average or, if `hidden`, two dense layers.

    With dense layers, the gradient differs from place to place.
    """

    num_classes: int = 3
    hidden: int = 0

    @nn.compact
    def __call__(self, images, *, train):
        x = endpoint(self, "stem", nn.relu(nn.Conv(6, (3, 3), 2, name="stem")(images)))
        x = nn.relu(nn.Conv(8, (3, 3), 2, name="stage1_block1")(x))
        x = endpoint(self, "stage1/block1", x)
        if self.hidden:
            x = jnp.tanh(nn.Dense(self.hidden, name="hidden")(x.reshape(len(x), -1)))
        else:
            x = global_avg_pool(x)
        return classifier(self, x, None, nn.initializers.normal(1.0), train=train)


def small_predictor(hidden: int = 0) -> Predictor:
    """Return a Predictor of `Small` with drawn variables."""
    model = Small(hidden=hidden)
    rng = np.random.default_rng(0)

    def draw(leaf):
        deviation = (2 / np.prod(leaf.shape[:-1])) ** 0.5
        return rng.normal(0, deviation, leaf.shape).astype(np.float32)

    variables = jax.tree.map(draw, variable_shapes(model, SIZE))
    return Predictor(model, variables, PREPROCESSING, CLASSES, batch_size=4)


def small_images(count: int) -> np.ndarray:
    """Draw images, uint8 `[count, SIZE, SIZE, 3]`, with a bright square at different places."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (count, SIZE, SIZE, 3), np.uint8)
    for image, (row, column) in zip(images, rng.integers(0, SIZE - 8, (count, 2)), strict=True):
        image[row : row + 8, column : column + 8] += 130
    return images


def vit_predictor(pool: str = "token") -> Predictor:
    """Return a Predictor of a Vision Transformer with 3 x 3 patches and drawn variables."""
    model = create_model("vit_ti16", 3, variant=Variant(16, 3, 16, 2, 8), pool=pool)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32),
        variable_shapes(model, SIZE),
    )
    return Predictor(model, variables, PREPROCESSING, CLASSES, batch_size=4)
