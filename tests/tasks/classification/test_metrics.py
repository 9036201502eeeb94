"""Classification metrics equal numbers computed by hand."""

import json
import math

import numpy as np
import pytest

from netzoo.tasks.classification.metrics import metrics_from_sums, wilson_interval

NAMES = ["daisy", "roses", "tulips"]


def sums(confusion, topk_correct, loss_sum=12.0):
    confusion = np.array(confusion)
    return {
        "confusion": confusion,
        "topk_correct": topk_correct,
        "loss_sum": loss_sum,
        "count": int(confusion.sum()),
    }


def test_wilson_interval_equals_hand_computed_values():
    """Protects the formula: for 8 of 10 and z = 2, (0.8 + 0.2 ± 2·sqrt(0.016 + 0.01)) / 1.4."""
    half = 2 * math.sqrt(0.8 * 0.2 / 10 + 4 / 400)
    expected = ((0.8 + 0.2 - half) / 1.4, (0.8 + 0.2 + half) / 1.4)
    assert wilson_interval(8, 10, z=2.0) == pytest.approx(expected, abs=1e-12)


def test_wilson_interval_equals_published_example():
    """Protects the default of 95 %: 81 of 263 is 0.2553 to 0.3662 in Newcombe (1998), Table I."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize("n", [1, 3, 734, 50_000])
def test_wilson_interval_stays_within_zero_and_one(n):
    """Protects perfect and hopeless runs, where the naive interval has no width."""
    z2 = 1.959964**2
    assert wilson_interval(0, n) == (0.0, pytest.approx(z2 / (n + z2)))
    assert wilson_interval(n, n) == (pytest.approx(n / (n + z2)), 1.0)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_interval_rejects_impossible_counts(correct, n):
    """Protects against an interval for impossible counts."""
    with pytest.raises(ValueError, match=f"correct={correct}, n={n}"):
        wilson_interval(correct, n)


def test_metrics_equal_hand_computed_values():
    """Protects the meaning of rows (true) and columns (predicted) in every ratio."""
    result = metrics_from_sums(
        sums([[6, 2, 0], [1, 3, 0], [3, 0, 5]], topk_correct=18), NAMES, top_k=2
    )
    assert result["accuracy"] == 14 / 20
    assert result["top2_accuracy"] == 18 / 20
    assert result["loss"] == 12 / 20
    assert result["count"] == 20
    assert result["interval"] == list(wilson_interval(14, 20))
    assert result["macro_recall"] == pytest.approx((6 / 8 + 3 / 4 + 5 / 8) / 3)
    daisy, roses, tulips = result["per_class"]
    assert daisy == {
        "name": "daisy",
        "precision": 6 / 10,
        "recall": 6 / 8,
        "f1": pytest.approx(2 * 0.6 * 0.75 / (0.6 + 0.75)),
        "support": 8,
    }
    assert (roses["precision"], roses["recall"], roses["support"]) == (3 / 5, 3 / 4, 4)
    assert (tulips["precision"], tulips["recall"], tulips["support"]) == (1.0, 5 / 8, 8)


def test_undefined_ratios_are_none_and_the_result_is_json():
    """Protects reports of splits without a class: no NaN and no misleading zero."""
    result = metrics_from_sums(sums([[4, 0, 0], [2, 0, 0], [0, 0, 0]], 4, math.inf), NAMES, top_k=1)
    _, roses, tulips = result["per_class"]
    assert (roses["precision"], roses["recall"], roses["f1"]) == (None, 0.0, 0.0)
    assert (tulips["precision"], tulips["recall"], tulips["f1"]) == (None, None, None)
    assert result["macro_recall"] == 0.5
    assert result["loss"] is None
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_numpy_sums_do_not_leak_into_the_result():
    """Protects json.dump at the call site from numpy scalars."""
    given = sums(np.diag([1, 2, 3]).astype(np.int32), np.int64(6), np.float64(3.0))
    given["count"] = np.int64(6)
    json.dumps(metrics_from_sums(given, NAMES, top_k=3), allow_nan=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0, "confusion": np.zeros((3, 3), int)}, "no example was evaluated"),
        ({"count": 7}, "7 examples.* got .* 6 examples"),
        ({"confusion": np.eye(2)}, "3 classes"),
        ({"topk_correct": 5}, "between 6 and 6; .* and 5"),
        ({"topk_correct": 7}, "between 6 and 6; .* and 7"),
    ],
)
def test_contradictions_are_errors(change, message):
    """Protects against padding counted in one sum but not in another."""
    with pytest.raises(ValueError, match=message):
        metrics_from_sums({**sums(np.diag([1, 2, 3]), 6), **change}, NAMES, top_k=2)
