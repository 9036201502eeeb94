"""The Predictor of a lesson sees images as the training does."""

import jax
import numpy as np

from netzoo.models.vit import Variant, ViT
from netzoo.teaching import Pictures, initial_variables, normalize, predictor


def test_the_predictor_sees_what_the_training_sees():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    pictures = Pictures(images, np.zeros(2, int), images, np.zeros(2, int), ("daisy", "roses"))
    model = ViT(Variant(8, 1, 8, 1, 8), 2)
    variables = initial_variables(model, images)
    # The last layer starts as zeros.
    variables["params"]["logits"]["kernel"] = np.random.default_rng(0).normal(size=(8, 2))
    logits = model.apply(variables, normalize(images), train=False)
    found = predictor(model, variables, pictures)(images)
    np.testing.assert_allclose(found, jax.nn.softmax(logits), rtol=1e-4)
    assert abs(found[0] - found[1]).max() > 1e-3
