"""The quick form of the lesson on MobileNetV1, and its closed forms."""

import numpy as np
import pytest

from lessons.mobilenet_v1 import Network
from netzoo.teaching import convolutions

STEM_AND_LOGITS = 112**2 * 27 * 32 + 1024 * 1000  # multiply-adds, the same in both networks


def test_the_costs_are_those_of_the_paper(quick_numbers):
    _, numbers = quick_numbers("mobilenet_v1")
    depthwise, pointwise = numbers["costs"].T
    np.testing.assert_array_equal(9 * pointwise / depthwise, numbers["features"])
    # Table 4 of the paper: 569 million with separable convolutions, 4866 million with dense ones.
    assert (depthwise + pointwise).sum() + STEM_AND_LOGITS == pytest.approx(569e6, rel=1e-3)
    assert 9 * pointwise.sum() + STEM_AND_LOGITS == pytest.approx(4866e6, rel=1e-3)
    assert pointwise.sum() / 569e6 == pytest.approx(0.9486, abs=1e-3)  # table 2


def test_the_multipliers_change_the_cost_with_their_squares(quick_numbers):
    _, numbers = quick_numbers("mobilenet_v1")
    totals = numbers["totals"][:9].reshape(3, 3)  # widths, sizes
    np.testing.assert_allclose(totals[:, 2] / totals[:, 0], 4, rtol=1e-9)
    # The cost of depthwise convolutions and the stem grows with the width, not with its square.
    assert np.all((totals[2] / totals[0] > 8) & (totals[2] / totals[0] < 16))
    dense, separable = (Network(5, dense=dense) for dense in (True, False))
    assert numbers["totals"][9] == sum(c.multiply_adds for c in convolutions(dense, 32))
    assert numbers["totals"][9] > 7 * sum(c.multiply_adds for c in convolutions(separable, 32))


def test_the_claims_follow_the_numbers(quick_numbers):
    # The quick form does not train, because compiling ten networks takes a minute. It times one
    # block, but the tests compile without optimisations, so that its times say nothing.
    lesson, numbers = quick_numbers("mobilenet_v1")
    assert set(lesson.draw(numbers)) == {"blocks"}
    accuracy = np.add.outer(np.array([50, 51, 52, 54, 53, 52, 60, 61, 62, 57]), [0.0, 0.5, 1.0])
    numbers = numbers | {
        "times": np.array([[4.0, 4.0], [1.0, 5.0], [2.0, 8.0]]),
        "accuracy": accuracy,
        "latency": np.arange(1.0, 11.0),
    }
    exact, faster, dense, wider, larger, smaller = lesson.claims(numbers)
    assert (exact.verdict, faster.verdict) == ("shown", "shown weakly")
    assert "75 % of the time" in faster.measured
    assert "125 % in plain XLA" in faster.measured
    assert (dense.verdict, wider.verdict) == ("shown", "shown")
    assert "60.5 % against 57.5 %" in dense.measured
    assert larger.verdict == "shown"
    assert smaller.verdict == "shown"
    assert set(lesson.draw(numbers)) == {"blocks", "multipliers"}
