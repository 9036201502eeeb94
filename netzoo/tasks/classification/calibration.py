"""How well the confidence of a classifier matches its accuracy.

Source: C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, arXiv:1706.04599,
  sections 2 (reliability diagram, expected calibration error) and 4.2 (temperature scaling).
"""

from typing import Any, NamedTuple

import numpy as np
import scipy

BINS = 15
_COOLEST, _HOTTEST = 0.05, 20.0


class Temperature(NamedTuple):
    """The divisor of the logits that corrects the confidences."""

    value: float
    suggested_by: str | None = None  # the split it was fitted on; None if predictions use it


def calibration(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> dict[str, Any]:
    """Return the calibration of predictions whose logits are divided by `temperature`.

    Args:
      logits: Float `[n, classes]`.
      labels: Integer `[n]`.
      temperature: More than 0; it changes confidences but no predicted class.

    Returns:
      `expected_calibration_error` (the mean gap between confidence and accuracy, weighted by the
      size of the bin), `mean_confidence`, `loss` (mean negative log-likelihood in nats), and
      `bins`: for each of 15 bins of equal width, [examples, mean confidence, accuracy]; the means
      of an empty bin are None.
    """
    log_probabilities = scipy.special.log_softmax(logits.astype(np.float64) / temperature, axis=-1)
    predicted = log_probabilities.argmax(-1)
    confidence = np.exp(log_probabilities.max(-1))
    correct = predicted == labels
    # Bin m holds confidences in ((m - 1) / 15, m / 15].
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights, BINS) for weights in (confidence, correct)]
    gap = np.abs(sums[0] - sums[1]).sum() / len(labels)
    means = [[float(total / max(n, 1)) for total, n in zip(s, count, strict=True)] for s in sums]
    return {
        "expected_calibration_error": float(gap),
        "mean_confidence": float(confidence.mean()),
        "loss": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        "bins": [
            [int(n), *(pair if n else (None, None))] for n, *pair in zip(count, *means, strict=True)
        ],
    }


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature in [0.05, 20] with the lowest negative log-likelihood.

    The likelihood is log-concave in the inverse temperature, so it has one maximum.
    """
    logits, rows = logits.astype(np.float64), np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = scipy.special.log_softmax(logits / np.exp(log_temperature), axis=-1)
        return -scaled[rows, labels].mean()

    bounds = np.log(_COOLEST), np.log(_HOTTEST)
    found = scipy.optimize.minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(found.x))
