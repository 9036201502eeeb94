"""Statistics of accuracies against textbook values and brute force."""

import math

import numpy as np
import pytest

from netzoo.tasks.classification.comparison import mcnemar, mean_and_spread, paired_bootstrap


def test_mean_and_spread():
    """The sample standard deviation, with n - 1; a single seed has none."""
    assert mean_and_spread([0.9, 0.92, 0.94]) == (pytest.approx(0.92), pytest.approx(0.02))
    assert mean_and_spread([0.9]) == (0.9, None)


@pytest.mark.parametrize(("alone", "other"), [(1, 9), (5, 5), (0, 4), (0, 0)])
def test_mcnemar_is_the_exact_binomial_test(alone, other):
    """Twice the tail of Binomial(n, 1/2); examples on which both agree do not count."""
    first = np.array([True] * alone + [False] * other + [True] * 30 + [False] * 7)
    second = np.array([False] * alone + [True] * other + [True] * 30 + [False] * 7)
    n, few = alone + other, min(alone, other)
    tail = sum(math.comb(n, k) for k in range(few + 1)) / 2**n
    assert mcnemar(first, second) == (alone, other, pytest.approx(min(1, 2 * tail)))
    assert mcnemar(second, first).p_value == mcnemar(first, second).p_value


def test_the_bootstrap_keeps_pairs_together():
    """Two networks that err on the same images differ less than two that err anywhere.

    The interval is close to the normal one: mean ± 1.96 standard errors of the differences.
    """
    rng = np.random.default_rng(0)
    first = rng.random(734) < 0.9
    same = first & (rng.random(734) < 0.97)
    other = rng.permutation(same)
    intervals = {}
    for name, second in (("same", same), ("other", other)):
        low, high = paired_bootstrap(first, second)
        difference = first.astype(float) - second
        error = 1.96 * difference.std() / np.sqrt(734)
        assert low == pytest.approx(difference.mean() - error, abs=0.004)
        assert high == pytest.approx(difference.mean() + error, abs=0.004)
        intervals[name] = high - low
    assert intervals["same"] < intervals["other"] / 2
    assert paired_bootstrap(first, same) == paired_bootstrap(first, same)
    assert paired_bootstrap(first, first) == (0.0, 0.0)
