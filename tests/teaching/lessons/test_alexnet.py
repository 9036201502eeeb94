"""The quick form of the lesson on AlexNet: five steps of the units, and AlexNet untrained.

So few steps show neither a difference between the units nor an effect of dropout.
"""

import jax
import jax.numpy as jnp
import numpy as np

from lessons.alexnet import HE, KINDS, UNITS, smaller


def test_response_normalisation_follows_the_formula_of_the_paper(quick_numbers):
    """The constants are 2, 1e-4 and 0.75; the sum is over one channel, or over five equal ones."""
    _, numbers = quick_numbers("alexnet")
    values = numbers["values"]
    for found, channels in zip(numbers["normalized"], (1, 5), strict=True):
        expected = values / (2 + 1e-4 * channels * values**2) ** 0.75
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_smaller_weights_are_those_before_response_normalisation():
    """It divides values far below 10 by 2 ** 0.75, and so do the weights of its convolutions."""
    key, shapes = jax.random.key(0), {(11, 11, 3, 4): 2**0.75, (3, 3, 4, 4): 1, (9, 4): 1}
    for shape, factor in shapes.items():
        found, normal = (init(key, shape, jnp.float32) for init in (smaller, HE))
        np.testing.assert_allclose(found * factor, normal, rtol=1e-6)


def test_trainings_and_networks_are_recorded(quick_numbers):
    lesson, numbers = quick_numbers("alexnet")
    for unit in UNITS:
        assert numbers[f"error/{unit}"].shape == (1, 2)
        assert 0.5 < numbers[f"error/{unit}"][0, 0] < 1
    # Dropout does nothing in evaluation, and all networks begin with the same weights.
    for kind in KINDS:
        assert numbers[f"{kind}/AlexNet"] == numbers[f"{kind}/no dropout"]
    assert len(lesson.claims(numbers)) == 6
    assert set(lesson.draw(numbers)) == {"units", "dropout", "response_norm"}
