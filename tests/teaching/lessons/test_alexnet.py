"""The quick form of the lesson on AlexNet: five steps of the units, and AlexNet untrained.

So few steps show neither a difference between the units nor an effect of dropout.
"""

import numpy as np

from lessons.alexnet import NETWORKS, UNITS


def test_response_normalisation_follows_the_formula_of_the_paper(quick_numbers):
    """The constants are 2, 1e-4 and 0.75; the sum is over one channel, or over five equal ones."""
    _, numbers = quick_numbers("alexnet")
    values = numbers["values"]
    for found, channels in zip(numbers["normalized"], (1, 5), strict=True):
        expected = values / (2 + 1e-4 * channels * values**2) ** 0.75
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_trainings_and_networks_are_recorded(quick_numbers):
    lesson, numbers = quick_numbers("alexnet")
    for unit in UNITS:
        assert numbers[f"error/{unit}"].shape == (1, 2)
        assert 0.5 < numbers[f"error/{unit}"][0, 0] < 1
    validation = [numbers[f"validation/{name}"].tolist() for name in NETWORKS]
    # Dropout does nothing in evaluation, and the three networks begin with the same weights.
    assert validation[0] == validation[2]
    assert len(lesson.claims(numbers)) == 5
    assert set(lesson.draw(numbers)) == {"units", "dropout", "response_norm"}
