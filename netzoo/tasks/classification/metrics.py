"""Classification metrics from exact counts.

The device computes a small dictionary of sums per batch, and the host adds these in int64 and
float64, so that metrics are exact for any batch size and number of devices:

    confusion      int [C, C]   rows are true classes, columns are predicted classes
    topk_correct   int          examples whose true class is among the k highest logits
    loss_sum       float        sum (not mean) of the per-example loss, in nats
    count          int          examples seen, padding excluded
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netzoo.errors import UserError


def wilson_interval(correct: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of `correct` in `n`, which is also valid for small n.

    `z` is a standard normal quantile; 1.959964 gives 95 %.

    Raises:
      ValueError: `n` is not positive, or `correct` is outside 0 to n.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
      Journal of the American Statistical Association 22 (158), 1927, pp. 209-212.
    """
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"expected 0 <= correct <= n with n >= 1, got correct={correct}, n={n}")
    share, denominator = correct / n, 1 + z * z / n
    center = (share + z * z / (2 * n)) / denominator
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / denominator
    # At 0 and n the exact bounds are 0 and 1; clip rounding errors beyond them.
    return 0.0 if correct == 0 else center - half, 1.0 if correct == n else center + half


def metrics_from_sums(
    sums: Mapping[str, Any], class_names: Sequence[str], top_k: int
) -> dict[str, Any]:
    """Compute the metrics of the report from the sums over a whole split.

    Returns:
      A JSON-serialisable dictionary: `accuracy`, `top{k}_accuracy`, `macro_recall` (fractions),
      `interval` ([lower, upper], the Wilson 95 % interval of `accuracy`), `loss` (mean, nats),
      `count`, and `per_class`, a list in label order of `name`, `precision`, `recall`, `f1` and
      `support` (true examples of the class). A ratio with denominator 0 is None: recall of a class
      without examples, precision of a class never predicted, and f1 of a class with neither.
      `macro_recall` is the mean over classes with examples. A non-finite loss is also None, because
      JSON has no NaN.

    Raises:
      UserError: No example was evaluated.
      ValueError: The shapes and counts are inconsistent.
    """
    confusion, classes = np.asarray(sums["confusion"], np.int64), len(class_names)
    count, topk_correct = int(sums["count"]), int(sums["topk_correct"])
    correct = int(np.trace(confusion))
    if count < 1:
        raise UserError("no example was evaluated: the split is empty, or no image could be read")
    fits = confusion.shape == (classes, classes) and confusion.sum() == count
    if not fits or not correct <= topk_correct <= count:
        raise ValueError(
            f"expected a confusion matrix of {classes} classes with {count} examples, and "
            f"topk_correct between {correct} and {count}; got shape {confusion.shape}, "
            f"{confusion.sum()} examples and {topk_correct}; sum over the same examples, no padding"
        )
    loss = float(sums["loss_sum"]) / count
    columns = (np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0))
    per_class = [
        {
            "name": str(name),
            "precision": _ratio(hits, predicted),
            "recall": _ratio(hits, support),
            # 2TP / (2TP + FP + FN): the harmonic mean, but also defined if only one ratio is.
            "f1": _ratio(2 * hits, support + predicted),
            "support": support,
        }
        for name, hits, support, predicted in zip(
            class_names, *(column.tolist() for column in columns), strict=True
        )
    ]
    recalls = [entry["recall"] for entry in per_class if entry["recall"] is not None]
    return {
        "accuracy": correct / count,
        "interval": list(wilson_interval(correct, count)),
        f"top{top_k}_accuracy": topk_correct / count,
        "macro_recall": math.fsum(recalls) / len(recalls),
        "loss": loss if math.isfinite(loss) else None,
        "count": count,
        "per_class": per_class,
    }


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator else None
