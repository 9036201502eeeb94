"""Builds Markdown tables from the records of runs, which `record.py` makes: one for each task."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netzoo.errors import UserError

RECORD_FILE = "record.json"
IMAGES, TRANSLATION = "image_classification", "translation"

# Of each task what its records are ranked by, and its table's head.
_TASKS = {
    IMAGES: (
        "accuracy",
        "| record | model | init | data | px | epochs | seed | accuracy, % (95 % interval) "
        "| images | parameters | img/s | wall time | device |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ),
    TRANSLATION: (
        "bleu",
        "| record | model | init | data | epochs | seed | BLEU (95 % interval) | chrF "
        "| perplexity | sentences | parameters | tokens/s | wall time | device |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ),
}


def results_tables(results_dir: str | os.PathLike[str]) -> str:
    """Builds the tables of all records directly under a folder, each with its best record first.

    Returns:
      One table for each task that has records, images before translation, a blank line between.

    Raises:
      UserError: there is no record there.
    """
    results_dir = Path(results_dir)
    records = {path.parent.name: read_json(path) for path in results_dir.glob(f"*/{RECORD_FILE}")}
    if not records:
        raise UserError(f"expected {results_dir}/*/{RECORD_FILE}, found none")
    tables = []
    for task, (score, *head) in _TASKS.items():
        # Records of images have no such key: they are older than the second task.
        chosen = [item for item in records.items() if item[1].get("task", IMAGES) == task]
        ranked = sorted(chosen, key=lambda item: (-item[1][score], item[0]))
        rows = ["| " + " | ".join(map(str, _cells(task, *item))) + " |" for item in ranked]
        if rows:
            tables.append("\n".join([*head, *rows]))
    return "\n\n".join(tables)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file; one that is none raises a `UserError` with its name."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error


def _cells(task: str, name: str, record: Mapping[str, Any]) -> list[Any]:
    data = f"{record['dataset']}: {record['train_split']} → {record['test_split']}"
    minutes, seconds = divmod(round(record["wall_seconds"]), 60)
    rate = "images_per_second" if task == IMAGES else "tokens_per_second"
    return [
        *(name, record["model"], record["init"], data),
        *([record["image_size"]] if task == IMAGES else []),
        *(f"{record['epochs']:g}", record["seed"]),
        *(_accuracy(record) if task == IMAGES else _scores(record)),
        f"{record['num_examples']:,}",
        f"{record['parameters'] / 1e6:.2f} M",
        f"{record[rate]:,.0f}",
        f"{minutes} min {seconds:02d} s",
        ", ".join(record["machine"]["devices"]),
    ]


def _accuracy(record: Mapping[str, Any]) -> list[str]:
    lower, upper = record["interval"]
    return [f"{100 * record['accuracy']:.2f} ({100 * lower:.1f} to {100 * upper:.1f})"]


def _scores(record: Mapping[str, Any]) -> list[str]:
    lower, upper = record["bleu_interval"]
    perplexity = record["perplexity"]
    return [
        f"{record['bleu']:.2f} ({lower:.1f} to {upper:.1f})",
        f"{record['chrf']:.2f}",
        "-" if perplexity is None else f"{perplexity:.2f}",
    ]
