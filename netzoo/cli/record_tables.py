"""Builds Markdown tables from the records of runs, which `record.py` makes: one for each task."""

import json
import os
from pathlib import Path
from typing import Any

from netzoo.config.tasks import DEFAULT_TASK, TASKS, task_module
from netzoo.errors import UserError

RECORD_FILE = "record.json"


def results_tables(results_dir: str | os.PathLike[str]) -> str:
    """Builds the tables of all records directly under a folder, each with its best record first.

    Returns:
      One table for each task that has records, with a blank line between them.

    Raises:
      UserError: The folder has no record.
    """
    paths = list(Path(results_dir).glob(f"*/{RECORD_FILE}"))
    if not paths:
        raise UserError(f"expected {results_dir}/*/{RECORD_FILE}, found none")
    records = [{**read_json(path), "record": path.parent.name} for path in paths]
    of_task = {
        task: [record for record in records if record.get("task", DEFAULT_TASK) == task]
        for task in TASKS
    }
    return "\n\n".join(_table(task, chosen) for task, chosen in of_task.items() if chosen)


def _table(task: str, records: list[dict[str, Any]]) -> str:
    description = task_module(task, "record").RECORD
    records.sort(key=lambda record: (-record[description.rank], record["record"]))
    columns = description.columns
    lines = [[column.title for column in columns]]
    lines += [[str(column.cell(record)) for column in columns] for record in records]
    head, *rows = ("| " + " | ".join(cells) + " |" for cells in lines)
    rule = "|" + "|".join("--:" if column.right else "---" for column in columns) + "|"
    return "\n".join([head, rule, *rows])


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file.

    Raises:
      UserError: It is not JSON, or no object of JSON; the message names it.
    """
    try:
        fields = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path} holds a {type(fields).__name__}; expected keys and values")
    return fields
