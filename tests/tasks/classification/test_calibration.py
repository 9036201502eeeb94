"""Calibration: the definitions of Guo et al., and the temperature that generated the labels."""

import numpy as np
import pytest
from scipy import special

from netzoo.tasks.classification.calibration import BINS, calibration, fit_temperature


def drawn(n, temperature, seed=0):
    """Logits, and labels drawn from their softmax at a temperature."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, 4)).astype(np.float32)
    noise = rng.gumbel(size=logits.shape)
    return logits, (logits / temperature + noise).argmax(-1)


def test_a_case_that_can_be_counted():
    """Two bins: 0.9 with one of two right, 0.6 with all of two right."""
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    found = calibration(logits, np.array([0, 1, 0, 1]))
    assert found["expected_calibration_error"] == pytest.approx((0.4 + 0.4) / 2)
    assert found["mean_confidence"] == pytest.approx(0.75)
    filled = {place: found["bins"][place] for place in range(BINS) if found["bins"][place][0]}
    assert filled == {13: [2, pytest.approx(0.9), 0.5], 8: [2, pytest.approx(0.6), 1.0]}
    assert found["bins"][0] == [0, None, None]
    assert found["loss"] == pytest.approx(-np.log([0.9, 0.1, 0.6, 0.6]).mean())


def test_the_definition_of_the_paper():
    """Eq. (3), written as the sum over the bins ((m - 1) / 15, m / 15]."""
    logits, labels = drawn(500, 2.0)
    for temperature in (1.0, 2.5):
        shares = special.softmax(logits.astype(float) / temperature, axis=-1)
        confidence, right = shares.max(-1), shares.argmax(-1) == labels
        error = 0.0
        for m in range(1, 16):
            inside = (confidence > (m - 1) / 15) & (confidence <= m / 15)
            if inside.any():
                error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
        found = calibration(logits, labels, temperature)
        assert found["expected_calibration_error"] == pytest.approx(error)
        assert sum(count for count, _, _ in found["bins"]) == 500


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_drew_the_labels_is_found(temperature):
    """It has the lowest loss and a small calibration error; 4,000 examples allow 5 %."""
    logits, labels = drawn(4000, temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    loss = [calibration(logits, labels, found * factor)["loss"] for factor in (0.99, 1, 1.01)]
    assert loss[1] == min(loss)
    before, after = (calibration(logits, labels, t) for t in (1.0, found))
    errors = [each["expected_calibration_error"] for each in (before, after)]
    assert errors[1] < 0.03 and (temperature == 1 or errors[0] > 0.05)


def test_a_perfect_network_has_a_bounded_temperature():
    """If every example is right, the likelihood grows without end as the temperature falls."""
    logits = np.eye(4, dtype=np.float32) * 2
    assert 0.05 <= fit_temperature(logits, np.arange(4)) < 0.06
