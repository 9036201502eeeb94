"""A Predictor of a lesson's network, which `netzoo.inspection` looks into."""

import flax.linen as nn
from chex import ArrayTree

from netzoo.tasks.classification.predictor import Predictor
from netzoo.teaching.fit import DEVIATION, MEAN
from netzoo.teaching.pictures import Pictures
from netzoo.weights import Preprocessing


def predictor(
    model: nn.Module, variables: ArrayTree, pictures: Pictures, batch_size: int = 32
) -> Predictor:
    """Return a Predictor with the preprocessing and the classes of `pictures`."""
    size = pictures.train.shape[1]
    preprocessing = Preprocessing(3 * (MEAN,), 3 * (DEVIATION,), size, size, "area")
    return Predictor(model, variables, preprocessing, pictures.class_names, batch_size)
