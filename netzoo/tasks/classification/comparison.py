"""Statistics of accuracies: over seeds, and between two networks on the same images."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

RESAMPLES = 9999


class McNemar(NamedTuple):
    """The result of McNemar's exact test."""

    first_alone: int  # examples that only the first network classifies correctly
    second_alone: int
    p_value: float  # two-sided


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation, None for a single value."""
    mean = math.fsum(values) / len(values)
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else None


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Compare two networks by the examples on which one alone is right.

    If the networks do not differ, each of them is right on half of these examples on average. Both
    arguments are bool `[n]`, whether each example is classified correctly.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions
      or percentages", Psychometrika 12 (2), 1947, pp. 153-157; here with exact binomial
      probabilities.
    """
    alone = int((first & ~second).sum()), int((second & ~first).sum())
    p_value = scipy.stats.binomtest(alone[0], sum(alone)).pvalue if sum(alone) else 1.0
    return McNemar(*alone, float(p_value))


def paired_bootstrap(first: np.ndarray, second: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % percentile interval of the difference of two mean accuracies.

    The examples are drawn with replacement, each with the results of both networks.

    Args:
      first: Float `[n]`: for each example, whether it is classified correctly, or the share of
        seeds that classify it correctly.
      second: The same for the other network, in the same order.
      seed: Seed of the 9,999 resamples.
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    if np.ptp(difference) == 0:
        return float(difference[0]), float(difference[0])
    options = {"n_resamples": RESAMPLES, "method": "percentile", "batch": 999}
    rng = np.random.default_rng(seed)
    found = scipy.stats.bootstrap((difference,), np.mean, rng=rng, **options).confidence_interval
    return float(found.low), float(found.high)
