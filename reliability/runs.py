"""Training processes, and the bit-for-bit comparison of two runs."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from netzoo.buckets import is_in_bucket
from netzoo.cache import CACHE_VARIABLE
from netzoo.cli.launch import HUGE_PAGES_SWITCH
from netzoo.workdir import BEST, CHECKPOINTS, METRICS_FILE
from netzoo.workdir.checkpoint import read_arrays, restore_variables
from netzoo.workdir.metrics_log import read_metrics
from reliability.config import STEPS

ROOT = Path(__file__).parents[1]
CONFIG = "reliability/config.py"
HUNG, HANGS_SECONDS = "it hung, and was killed", 600


def begin(
    workdir: Path, cache: Path, break_at: str = "", *flags: str, entry: str = "train.py"
) -> subprocess.Popen:
    """Start training in `workdir`, or another entry point.

    Args:
      workdir: The run folder.
      cache: Folder of compiled programs, shared by all runs.
      break_at: See `reliability.config`.
      flags: Further flags.
      entry: `train.py`, or another entry point, which gets no `--config`.
    """
    config = f"{CONFIG}:{break_at}" if break_at else CONFIG
    program = [entry, "--config", config] if entry == "train.py" else [entry]
    command = [sys.executable, *program, "--workdir", str(workdir), *flags]
    environment = {
        **os.environ,
        CACHE_VARIABLE: str(cache),
        HUGE_PAGES_SWITCH: "0",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(*arguments: Any, **options: Any) -> subprocess.CompletedProcess:
    """Run what `begin` starts to its end; see `end`."""
    return end([begin(*arguments, **options)])[0]


def begin_job(
    workdir: Path, cache: Path, break_at: str = "", *, processes: int = 1, victim: int = 0
) -> list[subprocess.Popen]:
    """Start training in several processes, of which `victim` breaks at a place.

    The others notice a missing process after a few seconds; see `reliability.config`.
    """
    if processes == 1:
        return [begin(workdir, cache, break_at)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    started = []
    for index in range(processes):
        flags = ("--coordinator", coordinator, "--processes", str(processes), "--process")
        place = break_at if break_at and index == victim else "nowhere,0"
        started.append(begin(workdir, cache, place, *flags, str(index)))
    return started


def end(started: Sequence[subprocess.Popen]) -> list[subprocess.CompletedProcess]:
    """Wait for the processes of a job; kill what does not end, because nothing may hang."""
    done = []
    for process in started:
        try:
            out, err = process.communicate(timeout=HANGS_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += f"\n{HUNG}"
        done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return done


def steps_in(workdir: Path, which: str = CHECKPOINTS) -> list[int]:
    """Return the complete checkpoints, oldest first."""
    folder = workdir / which
    return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


def last_logged(workdir: Path) -> int:
    """Return the last step in the metrics log, or 0."""
    path = workdir / METRICS_FILE
    records = read_metrics(path) if path.exists() else []
    return records[-1]["step"] if records else 0


def resumed_at(output: str) -> int:
    """Return the step at which a run said that it continues or is complete; 0 for a new run."""
    found = re.search(r"(?:continuing|training is complete) at step (\d+)", output)
    return int(found[1]) if found else 0


def differences(workdir: Path, whole: Path) -> list[str]:
    """Name what differs between two finished runs; an empty list means that all bits are equal.

    It compares every array of the last checkpoint, the position in the data, the weights and the
    step of the best checkpoint, the steps of the kept checkpoints, their average, and the metrics
    log without "timing", in which every step must occur once.
    """
    try:
        mine, its = _contents(workdir), _contents(whole)
    except Exception as error:
        return [f"cannot be read: {type(error).__name__}: {error}"]
    return [name for name in its if not _same(mine.get(name), its[name])]


def _contents(workdir: Path) -> dict[str, Any]:
    if not is_in_bucket(workdir):
        workdir = workdir.absolute()  # for Orbax
    checkpoints, best = steps_in(workdir), steps_in(workdir, BEST)
    if checkpoints[-1] != STEPS:
        raise ValueError(f"the last checkpoint is of step {checkpoints[-1]}, expected {STEPS}")
    last = workdir / CHECKPOINTS / str(STEPS)
    state, weights = (read_arrays(path) for path in (last, workdir / BEST / str(best[-1])))
    lines = read_metrics(workdir / METRICS_FILE)
    return {
        **state,
        "position": [
            json.loads(path.read_text()) for path in sorted((last / "data").glob("*.json"))
        ],
        "best weights": weights,
        "best step": best[-1],
        "checkpoints kept": checkpoints,
        "average": restore_variables(workdir, "average")[-1],
        "metrics": [{k: v for k, v in line.items() if k != "timing"} for line in lines],
    }


def _same(mine: Any, its: Any) -> bool:
    leaves, expected = jax.tree.leaves(mine), jax.tree.leaves(its)
    return jax.tree.structure(mine) == jax.tree.structure(its) and all(
        np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")
        for a, b in zip(leaves, expected, strict=True)
    )
