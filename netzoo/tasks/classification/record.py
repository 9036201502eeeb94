"""The record of a run of image classification."""

from collections.abc import Mapping
from typing import Any

from netzoo.tasks.classification.predictions import PREDICTIONS_FILE
from netzoo.tasks.record import Column, Record


def _accuracy(record: Mapping[str, Any]) -> str:
    lower, upper = record["interval"]
    return f"{100 * record['accuracy']:.2f} ({100 * lower:.1f} to {100 * upper:.1f})"


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
