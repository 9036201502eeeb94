"""Every family trains as its reference does: batch statistics, auxiliary classifiers, gradients."""

import pytest

from parity.cases import CASES
from parity.compare import Comparison

# In float64. What is left is the order of sums: 3e-12 at most so far.
TOLERANCE = 1e-10


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].in_tests])
def test_training_mode(name):
    """One step's logits, new statistics and gradients of every parameter are the reference's."""
    errors = Comparison(name).training_errors()
    assert {kind: e for kind, e in errors.items() if e > TOLERANCE} == {}


@pytest.mark.parametrize("name", [name for name in CASES if not CASES[name].image_size])
def test_loss_of_translations(name):
    """Smoothed, over the real tokens of sentences of several lengths; and its gradients."""
    errors = Comparison(name).translation_errors()
    assert {kind: e for kind, e in errors.items() if e > TOLERANCE} == {}
