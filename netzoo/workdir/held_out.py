"""The log of every evaluation of a run on its test split.

Whoever evaluates several weights on the test split and reports the best has chosen by the test
examples. The log shows this: an evaluation enters it before its scores are printed.
"""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netzoo.errors import UserError
from netzoo.files import write_text
from netzoo.json_files import read_json
from netzoo.workdir import TEST_FILE

_WHICH = {"checkpoint": str, "step": int, "weights": str, "settings": {}}
_SHAPE = [{"time": str, **_WHICH}]


def add_evaluation(workdir: Path, report: Mapping[str, Any]) -> int:
    """Add the evaluation of `report`, the contents of `eval.json`; return the new length.

    Raises:
      UserError: The log is damaged.
      OSError: The log cannot be written.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    entry = {"time": now, **{name: report[name] for name in _WHICH}}
    entries = [*_read(workdir), entry]
    write_text(workdir / TEST_FILE, json.dumps(entries, indent=2) + "\n")
    return len(entries)


def summary(workdir: Path) -> dict[str, Any]:
    """Return how often a run was evaluated on its test split, and when.

    Returns:
      `evaluations` (their number), `different` (the number of different weights or settings among
      them; 1 if nothing was chosen by the test split), `first` and `last` (times in UTC).

    Raises:
      UserError: The log is empty or damaged.
    """
    entries = _read(workdir)
    if not entries:
        raise UserError(f"{workdir / TEST_FILE} lists no evaluation; evaluate the run again")
    different = {json.dumps([entry[name] for name in _WHICH], sort_keys=True) for entry in entries}
    return {
        "evaluations": len(entries),
        "different": len(different),
        "first": entries[0]["time"],
        "last": entries[-1]["time"],
    }


def _read(workdir: Path) -> list[dict[str, Any]]:
    path = workdir / TEST_FILE
    return read_json(path, _SHAPE) if path.exists() else []
