"""A predictor of colours, which needs milliseconds to compile."""

import flax.linen as nn
import numpy as np
import pytest

from netzoo.tasks.classification.predictor import Predictor
from netzoo.weights.published import Preprocessing


class Colours(nn.Module):
    """Logits that are the means of red, green and blue."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, images, *, train: bool):
        return nn.Dense(3, use_bias=False, name="logits")(images.mean((1, 2)))


@pytest.fixture(scope="session")
def colours() -> Predictor:
    preprocessing = Preprocessing((127.5,) * 3, (12.75,) * 3, 8, 8, "area")
    variables = {"params": {"logits": {"kernel": np.eye(3, dtype=np.float32)}}}
    return Predictor(Colours(), variables, preprocessing, ["red", "green", "blue"], 4)
