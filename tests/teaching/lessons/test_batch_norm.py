"""The quick form of the lesson on BatchNorm: two layers, and trainings of 20 steps."""

import numpy as np


def test_batch_norm_is_what_it_says_before_any_training(quick_numbers):
    """20 steps cannot show the learning rates; these numbers need no training.

    The percentiles of a normal distribution are -1.04, 0 and 1.04 standard deviations.
    """
    _, numbers = quick_numbers("batch_norm")
    assert numbers["bias/bn"].max() < 1e-4 * numbers["bias/plain"].min()
    first = numbers["inputs/bn"][:, 0].reshape(2, 3)
    np.testing.assert_allclose(first.mean(0), [-1.04, 0, 1.04], atol=0.2)
    other = numbers["inputs/plain"][:, 0].reshape(2, 3)
    assert abs(np.ptp(other, 1) - 2.08).max() > 0.3


def test_a_training_that_forgets_the_flag_keeps_no_statistics(quick_numbers):
    lesson, numbers = quick_numbers("batch_norm")
    assert numbers["modes"].shape == (3, 1, 1) and numbers["lost"].shape == (1,)
    assert len(lesson.claims(numbers)) == 5
    assert set(lesson.draw(numbers)) == {"rates", "inputs", "batches", "bias"}
