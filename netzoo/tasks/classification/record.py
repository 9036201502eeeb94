"""The records of runs of image classification, with one class or several in an image."""

from collections.abc import Callable, Mapping
from typing import Any

from netzoo.tasks.classification.predictions import PREDICTIONS_FILE
from netzoo.tasks.classification.thresholds import THRESHOLDS_FILE
from netzoo.tasks.record import Column, Record


def _accuracy(record: Mapping[str, Any]) -> str:
    lower, upper = record["interval"]
    return f"{100 * record['accuracy']:.2f} ({100 * lower:.1f} to {100 * upper:.1f})"


def _percent(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda record: f"{100 * record[name]:.2f}"


RECORD = Record(
    settings={"image_size": "px"},
    evaluated=(
        *("model.", "data.source", "data.image_size", "data.mean", "data.std"),
        *("evaluation.crop_pct", "evaluation.tta", "matmul_precision"),
    ),
    scores={
        "accuracy": ("accuracy", float),
        "num_examples": ("count", int),
        "interval": ("interval", [float, float]),
    },
    score_columns=(Column("accuracy, % (95 % interval)", _accuracy),),
    rank="accuracy",
    headline=lambda record: f"accuracy {100 * record['accuracy']:.2f} %",
    examples="images",
    throughput_unit="images",
    throughput_title="img/s",
    files=(PREDICTIONS_FILE,),
)

MULTI_LABEL_RECORD = RECORD._replace(
    scores={
        "multi_label": ("multi_label", bool),
        "mean_average_precision": ("mean_average_precision", float),
        "micro_f1": ("micro_f1", float),
        "macro_f1": ("macro_f1", float),
        "num_examples": ("count", int),
    },
    score_columns=(
        Column("mean average precision, %", _percent("mean_average_precision")),
        Column("micro F1, %", _percent("micro_f1")),
    ),
    rank="mean_average_precision",
    headline=lambda r: f"mean average precision {100 * r['mean_average_precision']:.2f} %",
    files=(PREDICTIONS_FILE, THRESHOLDS_FILE),
)


def record_of(fields: Mapping[str, Any]) -> Record:
    """Return the kind of record for a section `data` or for the fields of `record.json`."""
    return MULTI_LABEL_RECORD if fields.get("multi_label") else RECORD
