"""The page of a final evaluation: one HTML file without further files.

The template is `templates/report.html`. It escapes every text, because class names and file names
may come from strangers. Its content security policy forbids scripts and requests.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np
import scipy

from netzoo import figures
from netzoo.data.source import Source, example_name
from netzoo.errors import printable
from netzoo.tasks.classification.figures import confusion_figure, reliability_figure
from netzoo.tasks.classification.ranking import hardest_curves
from netzoo.tasks.classification.versus import verdict
from netzoo.tasks.run_facts import RunFacts

_MOST_CELLS = 12  # classes of a confusion matrix that is a table
_MOST_ROWS = 20  # classes of the first table
_CONFUSIONS, _EXAMPLES = 5, 5  # confusions, and pictures of each
_CARDS, _SHOWN = 10, 3  # pictures of the other lists, and classes below a picture


class Rows(NamedTuple):
    """The evaluated examples of a split, without padding and corrupt images."""

    position: np.ndarray  # int [n], in the source
    label: np.ndarray  # int [n]
    logits: np.ndarray  # float [n, classes]

    @classmethod
    def of(cls, rows: Mapping[str, np.ndarray]) -> "Rows | None":
        """Return the rows of a final evaluation, None if they were not kept or are not finite."""
        index = np.flatnonzero(rows.get("mask", ()))
        if not len(index) or not np.isfinite(rows["logits"][index]).all():
            return None
        return cls(index, rows["label"][index], rows["logits"][index])


def report_page(
    report: Mapping[str, Any],
    rows: Rows | None,
    source: Source,
    picture: Callable[[int], str | None],
    run: RunFacts,
    *,
    trained_on: bool,
    heat: Callable[[Sequence[int]], Mapping[int, str]] = lambda indices: {},
) -> str:
    """Return the page as HTML.

    Args:
      report: The contents of `eval.json`.
      rows: The evaluated examples, None if they were not kept.
      source: The evaluated split, for the names of its examples.
      picture: A function from the index of an example to the address of its picture.
      run: What is known about the run and this evaluation.
      trained_on: Whether the split is the run's training split.
      heat: A function from indices of examples to the addresses of their pictures with a heat map.
    """
    classes = [printable(name) for name in report["class_names"]]
    confusion = np.asarray(report["confusion"])
    curves = run.curves()
    values: dict[str, Any] = {
        "report": report,
        "run": run,
        "classes": classes,
        "top_k": next(k for k in report if k.startswith("top") and k.endswith("_accuracy")),
        "correct": int(np.trace(confusion)),
        "per_class": _per_class(report, classes),
        "most_rows": _MOST_ROWS,
        "matrix": None if len(classes) > _MOST_CELLS else _matrix(confusion),
        "curves": curves and figures.data_uri(curves),
        "rate": run.rate("images"),
        "trained_on": trained_on,
    }
    if values["matrix"] is None:
        figure = confusion_figure(confusion, report["class_names"], "")
        values["confusion_figure"] = figures.data_uri(figure)
    if rows is not None:
        examples = _Examples(rows, report, classes, source, picture)
        values |= _confidence(report)
        positive = np.eye(len(classes), dtype=bool)[rows.label]
        values |= hardest_curves(examples.probabilities, positive, values["per_class"])
        values["confusions"] = examples.confusions(confusion)
        values["mistakes"] = examples.mistakes()
        values["uncertain"] = examples.least_certain()
        explained = [*values["mistakes"], *values["uncertain"]]
        maps = heat(sorted({card["index"] for card in explained}))
        for card in explained:
            card["heat"] = maps.get(card["index"])
        values["has_heat"] = bool(maps)
        if found := report.get("comparison"):
            values["gained"] = examples.named(found["right_here_alone"])
            values["lost"] = examples.named(found["right_there_alone"])
            values["chance"] = verdict(found["p_value"])
    return page_environment().get_template("report.html").render(values)


def page_environment() -> jinja2.Environment:
    """Return what renders the templates of pages."""
    loader = jinja2.PackageLoader("netzoo.tasks.classification")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: "-" if share is None else f"{share:.1%}"
    environment.filters["plain"] = lambda text: printable(str(text))
    return environment


def _per_class(report: Mapping[str, Any], classes: Sequence[str]) -> list[dict[str, Any]]:
    entries = zip(report["per_class"], classes, strict=True)
    return [{**entry, "name": name, "average_precision": None} for entry, name in entries]


def _matrix(confusion: np.ndarray) -> list[list[dict[str, Any]]]:
    """Return the cells of the confusion matrix: counts, shares of the row, and shades.

    The shade is the root of the share, so that rare confusions are visible.
    """
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    return [
        [
            {"count": int(n), "share": share, "shade": np.sqrt(share), "right": i == j}
            for j, (n, share) in enumerate(zip(*row, strict=True))
        ]
        for i, row in enumerate(zip(confusion, shares, strict=True))
    ]


def _confidence(report: Mapping[str, Any]) -> dict[str, Any]:
    drawn, scaled = {"as trained": report["calibration"]}, report.get("temperature_scaled")
    if scaled:
        drawn[f"temperature {scaled['temperature']:.2f}"] = scaled
    gap = report["calibration"]["mean_confidence"] - report["accuracy"]
    return {
        "reliability": figures.data_uri(reliability_figure(drawn, "")),
        "calibration": report["calibration"],
        "scaled": scaled,
        "verdict": "overconfident" if gap > 0 else "underconfident",
        "well_calibrated": abs(gap) < 0.01,
    }


class _Examples:
    """Chooses the evaluated images that the page shows."""

    def __init__(
        self,
        rows: Rows,
        report: Mapping[str, Any],
        classes: Sequence[str],
        source: Source,
        picture: Callable[[int], str | None],
    ):
        self._rows, self._classes, self._source, self._picture = rows, classes, source, picture
        scaled = report.get("temperature_scaled")
        in_use = scaled["temperature"] if scaled and not scaled["suggested_by"] else 1.0
        logits = rows.logits.astype(np.float64) / in_use
        self.probabilities = scipy.special.softmax(logits, axis=-1)
        self._predicted, self._confidence = logits.argmax(-1), self.probabilities.max(-1)
        self._wrong = self._predicted != rows.label

    def confusions(self, confusion: np.ndarray) -> list[dict[str, Any]]:
        """Return the most frequent confusions, each with its most confident mistakes."""
        cells = confusion - np.diag(np.diag(confusion))
        order = np.argsort(-cells, axis=None, kind="stable")[:_CONFUSIONS]
        pairs = [divmod(int(cell), len(cells)) for cell in order]
        return [
            {
                "true": self._classes[true],
                "predicted": self._classes[predicted],
                "count": int(cells[true, predicted]),
                "share": cells[true, predicted] / confusion[true].sum(),
                "cards": self._cards(
                    (self._rows.label == true) & (self._predicted == predicted),
                    -self._confidence,
                    _EXAMPLES,
                ),
            }
            for true, predicted in pairs
            if cells[true, predicted]
        ]

    def mistakes(self) -> list[dict[str, Any]]:
        """Return the mistakes with the highest confidence."""
        return self._cards(self._wrong, -self._confidence, _CARDS)

    def least_certain(self) -> list[dict[str, Any]]:
        """Return the images with the lowest confidence."""
        return self._cards(np.ones_like(self._wrong), self._confidence, _CARDS)

    def named(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the first images among those with the given names."""
        wanted = {*names}
        own = (example_name(self._source, int(index)) for index in self._rows.position)
        among = np.array([printable(name) in wanted for name in own], bool)
        return self._cards(among, -self._confidence, _CARDS // 2)

    def _cards(self, among: np.ndarray, order: np.ndarray, count: int) -> list[dict[str, Any]]:
        positions = np.flatnonzero(among)
        positions = positions[np.argsort(order[positions], kind="stable")][:count]
        return [self._card(int(position)) for position in positions]

    def _card(self, position: int) -> dict[str, Any]:
        index, label = int(self._rows.position[position]), self._rows.label[position]
        row = self.probabilities[position]
        best = np.argsort(-row, kind="stable")[:_SHOWN]
        name, wrong = self._classes[label], bool(self._wrong[position])
        return {
            "index": index,
            "picture": self._picture(index),
            "heat": None,
            "name": printable(example_name(self._source, index)),
            "label": name,
            "wrong": wrong,
            "verdict": f"{name}, taken for {self._classes[best[0]]}" if wrong else name,
            "scores": [(self._classes[k], float(row[k]), k == label) for k in best],
        }
