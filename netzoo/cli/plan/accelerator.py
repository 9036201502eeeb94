"""Plans a run on accelerators: measures its step in a child process, and searches batch sizes."""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from netzoo.cli.plan.topology import ENVIRONMENT, Target
from netzoo.cli.plan.worker import JOB_FILE, RESULT, RESULT_FILE
from netzoo.config.files import save_config
from netzoo.errors import UserError
from netzoo.files import appending, read_text, write_text
from netzoo.json_files import read_json
from netzoo.progress import waiting

# The rows of a chip that a search tries: powers of two and one and a half times these.
SIZES = sorted({*(2**k for k in range(17)), *(3 * 2**k for k in range(16))})
_MOST_COMPILATIONS = 6
_RESERVED = 2**28  # bytes of HBM that the TPU compiler keeps for itself


def measure(config: ConfigDict, target: Target, classes: int | None, rows: int | None) -> Any:
    """Return the result of `netzoo.cli.plan.worker.measure`, from a child process.

    libtpu needs environment variables before it is loaded, may end its process, and cannot be
    interrupted. The devices of this process stay untouched.

    Raises:
      UserError: The worker raised it, or the compiler failed.
    """
    with tempfile.TemporaryDirectory(prefix="netzoo_plan_") as name:
        folder = Path(name)
        save_config(config, folder)
        job = {"target": str(target), "classes": classes, "rows": rows}
        write_text(folder / JOB_FILE, json.dumps(job))
        size = f" for a batch of {rows:,}" if rows else ""
        description = f"{config.model.name} for {target}{size}"
        if target.platform == "tpu":
            status = _run(folder, f"compiling {description}", "this may take minutes")
        else:
            status = _run(folder, f"counting {description}", "this may take a minute")
        if status or not (folder / RESULT_FILE).is_file():
            last = "\n".join(read_text(folder / "log").strip().splitlines()[-5:])
            raise UserError(f"the compiler for {target} failed with status {status}:\n{last}")
        result = read_json(folder / RESULT_FILE, RESULT)
    if "error" in result:
        raise UserError(result["error"])
    return result


def _run(folder: Path, description: str, expectation: str) -> int:
    command = [sys.executable, "-m", "netzoo.cli.plan.worker", str(folder)]
    with (
        appending(folder / "log") as log,
        waiting(description, expectation) as still,
        subprocess.Popen(
            command,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            while process.poll() is None:
                still()
                try:
                    process.wait(1)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            process.kill()
    return process.returncode


def used_bytes(result: Mapping[str, Any]) -> int | None:
    """Return the bytes of HBM that a compiled step needs on a chip.

    The result is None if the step was not compiled, or was refused for another reason than HBM.
    """
    program = result["program"]
    if program is None:
        return None
    if program["refusal"]:
        return program["wanted"]
    new = program["output"] - program["alias"]
    return program["arguments"] + new + program["temporaries"] + program["code"]


def fits(result: Mapping[str, Any]) -> bool | None:
    """Return whether the TPU compiler accepted a step; None if it was not asked."""
    return None if result["program"] is None else not result["program"]["refusal"]


def predicted_rows(target: Target, tried: Mapping[int, Mapping[str, Any]]) -> float:
    """Return the rows of a chip that should fit, from those that were tried.

    The memory beyond the state grows with the rows. The result is infinite if no memory is known.
    """
    known = {n: used for n, result in tried.items() if (used := used_bytes(result))}
    if not known:
        return math.inf
    rows = max(known)
    others = [n for n in known if n != rows]
    base = tried[rows]["state"]
    if others:  # a line through the two largest
        slope = (known[rows] - known[max(others)]) / (rows - max(others))
    else:
        slope = (known[rows] - base) / rows
    if slope <= 0:
        return math.inf
    return rows + (target.chip.memory - _RESERVED - known[rows]) / slope


def proposal(target: Target, tried: Mapping[int, Mapping[str, Any]], parts: int) -> int:
    """Return the largest size that should fit and is below the refused ones; 0 if none is known.

    `parts` is the number of parts of a batch for gradient accumulation.
    """
    refused = min((n for n, result in tried.items() if not fits(result)), default=math.inf)
    most = predicted_rows(target, tried)
    sizes = [n for n in SIZES if n % parts == 0 and n < refused]
    if math.isinf(most):
        most = refused / 2
    return max((n for n in sizes if n <= most), default=0)


def largest_batch(
    target: Target, start: int, parts: int, measured: Callable[[int], Mapping[str, Any]]
) -> dict[int, Mapping[str, Any]]:
    """Search the most rows of a chip that fit, with few compilations.

    Args:
      target: The chips.
      start: The rows to try first.
      parts: See `proposal`.
      measured: Returns the result of `measure` for a number of rows.

    Returns:
      The results by rows, in the order in which they were tried.
    """
    tried = {start: measured(start)}
    while len(tried) < _MOST_COMPILATIONS:
        fitting = max((n for n, result in tried.items() if fits(result)), default=0)
        refused = min((n for n, result in tried.items() if not fits(result)), default=math.inf)
        between = [n for n in SIZES if fitting < n < refused and n % parts == 0]
        if not between:
            break
        most = predicted_rows(target, tried)
        if math.isinf(most):
            most = refused / 2 if refused < math.inf else fitting * 2
        rows = max((n for n in between if n <= most), default=between[0])
        tried[rows] = measured(rows)
    return tried
