"""The predictions of an evaluation, one line for each example.

Comparisons of two evaluations need them: McNemar's test, a paired bootstrap, and the accuracy
without some of the examples.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from netzoo.csv_files import read_csv, write_csv
from netzoo.errors import printable

PREDICTIONS_FILE = "eval_predictions.csv"


class Prediction(NamedTuple):
    """The prediction for one example."""

    name: str  # of the example
    label: str  # the true class
    prediction: str  # the most probable class
    probability: float  # of the true class
    confidence: float  # the probability of the predicted class

    @property
    def correct(self) -> bool:
        """Whether the predicted class is the true one."""
        return self.label == self.prediction


def predictions(
    names: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> Iterator[Prediction]:
    """Yield the predictions of examples with these names, labels and probabilities `[n, classes]`.

    Characters that a terminal would obey are escaped.
    """
    best = probabilities.argmax(-1)
    shown = [printable(name) for name in classes]
    for row, (name, label) in enumerate(zip(names, labels, strict=True)):
        own, largest = probabilities[row, label], probabilities[row, best[row]]
        yield Prediction(
            printable(name), shown[label], shown[best[row]], round(own, 6), round(largest, 6)
        )


def write_predictions(path: Path, rows: Iterator[Prediction]) -> None:
    """Write predictions as CSV."""
    write_csv(path, Prediction._fields, rows)


def write_multi_label(
    path: Path, rows: Iterable[tuple[str, str, np.ndarray]], classes: Sequence[str]
) -> None:
    """Write multi-label predictions as CSV: name, true classes, and all probabilities."""
    lines = (
        (printable(name), printable(truth), *(f"{value:.6f}" for value in probabilities))
        for name, truth, probabilities in rows
    )
    write_csv(path, ("name", "label", *map(printable, classes)), lines)


def read_predictions(path: Path) -> list[Prediction]:
    """Read what `write_predictions` wrote.

    Raises:
      UserError: The file is damaged.
      OSError: The file cannot be read.
    """
    return read_csv(path, Prediction._fields, _prediction, "a list of predictions")


def _prediction(name: str, label: str, predicted: str, own: str, largest: str) -> Prediction:
    return Prediction(name, label, predicted, _share(own), _share(largest))


def _share(text: str) -> float:
    if not 0 <= (value := float(text)) <= 1:
        raise ValueError(f"{text} is not in [0, 1]")
    return value
