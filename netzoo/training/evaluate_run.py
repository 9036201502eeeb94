"""Evaluates a run on one of its splits, and writes a report into its folder."""

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
    workdir: str | os.PathLike[str],
    which: str = "last",
    config: ConfigDict | None = None,
    *,
    split: str = "test",
) -> dict[str, Any]:
    """Evaluate a run on one of its splits, print the scores, write `eval.json` and figures.

    Args:
      workdir: The run folder.
      which: `"last"`, `"best"` or `"average"`; see `netzoo.workdir.checkpoint.restore_variables`.
      config: The run's configuration with other values for data and evaluation, or None.
      split: `"test"`, `"validation"` or `"train"`: the run's `data.test_split` and so on.

    Returns:
      The contents of `eval.json`.

    Raises:
      UserError: The run lacks the split, or the folder, the data or the checkpoint is invalid.
    """
    workdir = Path(workdir)
    config = resolve_config(load_config(workdir) if config is None else config, workdir)
    check_writable(str(workdir / EVAL_FILE))
    examples = config.data.get(f"{split}_split")
    if examples is None:
        raise UserError(
            f"there is nothing to evaluate on: data.{split}_split is None; add "
            f"--config.data.{split}_split=SPLIT or another --split"
        )
    mesh = meshes.create_mesh()
    task = create_task(config, workdir)
    meshes.check_divisible(mesh, **task.batch_sizes())
    batches = task.evaluation_batches(examples)
    step, weights, variables = restore_variables(workdir, which)
    console = Console()
    sums = evaluate(
        make_eval_step(task.evaluation_sums, mesh),
        jax.device_put(variables, meshes.replicated(mesh)),
        track(batches, f"evaluating on {examples}", console),
        meshes.batch_placer(mesh),
    )
    details, draw_figures = task.report(jax.device_put(variables), examples, sums)
    report = {
        **task.metrics(sums),
        **details,
        "dataset": config.data.source,
        "split": examples,
        "step": step,
        "checkpoint": which,
        "weights": weights,
    }
    # Print first, so that a figure that cannot be written does not lose the metrics.
    task.show(report, console)
    if meshes.is_writer():
        text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        (workdir / EVAL_FILE).write_text(text, encoding="utf-8")
        draw_figures(workdir)
    print(f"{which} checkpoint, step {step}, {weights} weights; written: {workdir / EVAL_FILE}")
    return report
