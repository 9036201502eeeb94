"""The page of a final multi-label evaluation, like `netzoo.tasks.classification.page`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from netzoo import figures
from netzoo.data.source import Source, class_text, example_name
from netzoo.errors import printable
from netzoo.tasks.classification.page import page_environment
from netzoo.tasks.classification.ranking import hardest_curves
from netzoo.tasks.run_facts import RunFacts

_CARDS, _SHOWN = 10, 3  # pictures of a list, and classes below a picture


def multi_label_page(
    report: Mapping[str, Any],
    index: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    source: Source,
    picture: Callable[[int], str | None],
    run: RunFacts,
) -> str:
    """Return the page as HTML.

    Args:
      report: The contents of `eval.json`.
      index: Positions of the evaluated images in the source, `[n]`.
      probabilities: Their probabilities, `[n, classes]`.
      labels: Their label vectors, `[n, classes]`.
      source: The evaluated split, for the names of its examples.
      picture: A function from the index of an example to the address of its picture.
      run: What is known about the run and this evaluation.
    """
    classes = [printable(name) for name in report["class_names"]]
    pairs = zip(report["per_class"], classes, strict=True)
    per_class = [{**entry, "name": name} for entry, name in pairs]
    limits = np.array([entry["threshold"] for entry in per_class])
    positive, chosen = labels > 0.5, probabilities >= limits

    def cards(wrong: np.ndarray, order: np.ndarray, verdict: str) -> list[dict[str, Any]]:
        rows, columns = np.nonzero(wrong)
        best = np.argsort(order[rows, columns], kind="stable")[:_CARDS]
        return [card(int(rows[k]), f"{verdict} {classes[columns[k]]}") for k in best]

    def card(row: int, verdict: str) -> dict[str, Any]:
        best = np.argsort(-probabilities[row], kind="stable")[:_SHOWN]
        label = class_text(labels[row], classes)
        return {
            "picture": picture(int(index[row])),
            "heat": None,
            "name": printable(example_name(source, int(index[row]))),
            "label": label,
            "wrong": True,
            "verdict": f"{label}: {verdict}",
            "scores": [(classes[k], probabilities[row, k], bool(positive[row, k])) for k in best],
        }

    curves = run.curves()
    values = {
        **hardest_curves(probabilities, positive, per_class),
        "report": report,
        "run": run,
        "per_class": per_class,
        "curves": curves and figures.data_uri(curves),
        "rate": run.rate("images"),
        "invented": cards(chosen & ~positive, -probabilities, "not"),
        "missed": cards(~chosen & positive, probabilities, "missed"),
    }
    return page_environment().get_template("multi_label.html").render(values)
