"""Starts runs as processes that stop themselves, and compares two runs bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import chex
import jax
import numpy as np
import orbax.checkpoint as ocp

from netzoo.workdir.checkpoint import restore_variables
from netzoo.workdir.metrics_log import read_metrics

ROOT = Path(__file__).parents[2]
STEPS = 20  # 4 epochs of 5


def run(*arguments: object) -> subprocess.CompletedProcess:
    """Run `python ARGUMENTS` at the top of the repository."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def start(data, workdir, step=0, name="NONE", devices=1, umask=-1) -> subprocess.CompletedProcess:
    """Run a training process on `data`, pictures or `number_words`, to its end."""
    command = [sys.executable, "-m", "tests.training.stopped_run"]
    arguments = [str(data), str(workdir), str(step), name]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.run(
        command + arguments, cwd=ROOT, env=environment, capture_output=True, text=True, umask=umask
    )


def state_of(workdir: Path):
    """Every array of the last checkpoint, and the position in the data."""
    step = max(ocp.utils.checkpoint_steps(workdir / "checkpoints"))
    assert step == STEPS
    folder = workdir / "checkpoints" / str(step)
    with ocp.StandardCheckpointer() as reader:
        state = reader.restore(folder / "state")
    [position] = (folder / "data").glob("*.json")
    return jax.tree.map(np.asarray, state), json.loads(position.read_text())


def lines_of(workdir: Path):
    """The metrics log without measured times."""
    lines = read_metrics(workdir / "metrics.jsonl")
    return [{k: v for k, v in line.items() if k != "timing"} for line in lines]


def assert_same_run(workdir: Path, whole: Path):
    """State, best weights, metrics and data position are equal, bit for bit."""
    state, position = state_of(workdir)
    expected, expected_position = state_of(whole)
    chex.assert_trees_all_equal(state, expected)
    assert position == expected_position
    assert lines_of(workdir) == lines_of(whole)
    chex.assert_trees_all_equal(
        restore_variables(workdir, "best"), restore_variables(whole, "best")
    )


def damage(folder: Path) -> None:
    """Cut the largest file below `folder` in half, as a crashed disk would."""
    largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    with largest.open("r+b") as file:
        file.truncate(largest.stat().st_size // 2)
