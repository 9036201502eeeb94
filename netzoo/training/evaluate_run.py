"""Evaluates a run on its test split and writes the report into its folder."""

import json
import os
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.console import Console

from netzoo import mesh as meshes
from netzoo.config import load_config
from netzoo.errors import UserError
from netzoo.progress import track
from netzoo.tasks import create_task, resolve_config
from netzoo.training.evaluation import evaluate, make_eval_step
from netzoo.workdir import EVAL_FILE
from netzoo.workdir.checkpoint import restore_variables
from netzoo.workdir.outputs import check_writable


def evaluate_run(
    workdir: str | os.PathLike[str], which: str = "last", config: ConfigDict | None = None
) -> dict[str, Any]:
    """Evaluates the weights of a run on its `data.test_split`.

    Writes `eval.json` (the metrics, and which weights, step and split they are of) and the figures
    of the task, and prints the summary.

    Args:
      workdir: The run folder.
      which: `"last"`, `"best"` or `"average"`; see `netzoo.workdir.checkpoint.restore_variables`.
      config: The configuration of the run with other values for data and evaluation, or None.

    Returns:
      The contents of `eval.json`.

    Raises:
      UserError: There is no test split, the folder cannot be written, or data or checkpoint are
        missing or unreadable.
    """
    workdir = Path(workdir)
    config = resolve_config(load_config(workdir) if config is None else config, workdir)
    check_writable(str(workdir / EVAL_FILE))
    if not config.data.test_split:
        raise UserError(
            "there is nothing to evaluate on: data.test_split is empty; add "
            "--config.data.test_split=SPLIT"
        )
    mesh = meshes.create_mesh()
    task = create_task(config, workdir)
    meshes.check_divisible(mesh, **task.batch_sizes())
    split = config.data.test_split
    batches = task.evaluation_batches(split)
    step, weights, variables = restore_variables(workdir, which)
    console = Console()
    sums = evaluate(
        make_eval_step(task.evaluation_sums, mesh),
        jax.device_put(variables, meshes.replicated(mesh)),
        track(batches, f"evaluating on {split}", console),
        meshes.batch_placer(mesh),
    )
    details, draw_figures = task.report(jax.device_put(variables), split, sums)
    report = {
        **task.metrics(sums),
        **details,
        "dataset": config.data.source,
        "split": split,
        "step": step,
        "checkpoint": which,
        "weights": weights,
    }
    # Printed first: the metrics survive a figure that cannot be written.
    task.show(report, console)
    if meshes.is_writer():
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        (workdir / EVAL_FILE).write_text(text, encoding="utf-8")
        draw_figures(workdir)
    print(f"{which} checkpoint, step {step}, {weights} weights; written: {workdir / EVAL_FILE}")
    return report
