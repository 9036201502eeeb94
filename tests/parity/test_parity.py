"""Every family gives the numbers of its reference, from the same weights under their names."""

import pytest

from parity.cases import CASES
from parity.compare import Comparison

# Training mode is compared in float64. What is left is the order of sums: 3e-12 at most so far.
TRAINING_TOLERANCE = 1e-10


@pytest.mark.parametrize("name", CASES)
def test_evaluation(name):
    """Names, layout, padding, activations and running statistics are the reference's."""
    assert Comparison(name).evaluation_error() <= CASES[name].tolerance


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].in_tests])
def test_training(name):
    """So are batch statistics, auxiliary classifiers and gradients."""
    errors = Comparison(name).training_errors()
    assert {kind: e for kind, e in errors.items() if e > TRAINING_TOLERANCE} == {}
