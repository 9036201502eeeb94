"""Every family gives the logits of its reference, from the same weights under their names."""

import pytest

from parity.cases import CASES
from parity.compare import Comparison


@pytest.mark.parametrize("name", CASES)
def test_logits(name):
    """Names, layout, padding, activations and running statistics are the reference's."""
    assert Comparison(name).evaluation_error() <= CASES[name].tolerance
