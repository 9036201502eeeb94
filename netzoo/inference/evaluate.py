"""Evaluates a run on its test split and writes the report into its folder."""

import json
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.console import Console
from rich.progress import track
from rich.table import Table

from netzoo import mesh as meshes
from netzoo.compilation import compiler_options
from netzoo.config import validate
from netzoo.evaluation.evaluate import evaluate
from netzoo.evaluation.figures import confusion_matrix
from netzoo.tasks import create_task
from netzoo.workdir.checkpoint import load_weights

EVAL_FILE = "eval.json"
CONFUSION_PICTURE = "confusion_matrix.png"


def evaluate_run(config: ConfigDict, workdir: Path, which: str = "last") -> dict[str, Any]:
    """Evaluates the weights of a run on `config.data.test_split`.

    Writes `eval.json` (the metrics, the confusion matrix, and which weights, step and split they
    are of) and `confusion_matrix.png`, and prints the table of the classes.

    Args:
      config: The configuration of the run, possibly with other values for data and evaluation.
      workdir: The run folder.
      which: `"last"` or `"best"`.

    Returns:
      The contents of `eval.json`.

    Raises:
      UserError: Data or checkpoint are missing or unreadable.
    """
    validate(config)
    mesh = meshes.create_mesh()
    meshes.check_divisible(mesh, **{"evaluation.batch_size": config.evaluation.batch_size})
    task = create_task(config)
    split = config.data.test_split
    batches = task.evaluation_batches(split)
    step, weights, variables = load_weights(workdir, which)
    variables = jax.device_put(variables, meshes.replicated(mesh))
    console = Console()
    shown = track(batches, f"evaluating on {split}", console=console, transient=True)
    sums_of = jax.jit(task.evaluation_sums, compiler_options=compiler_options())
    sums = evaluate(sums_of, variables, shown, meshes.batch_placer(mesh))
    summary = task.summarize(sums)
    report = {
        **summary,
        "confusion": sums["confusion"].tolist(),
        "class_names": list(task.class_names),
        "dataset": config.data.source,
        "split": split,
        "image_size": config.data.image_size,
        "step": step,
        "checkpoint": which,
        "weights": weights,
    }
    (workdir / EVAL_FILE).write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    title = f"{config.model.name} on {config.data.source} {split}"
    path = workdir / CONFUSION_PICTURE
    confusion_matrix(sums["confusion"], task.class_names, path, title)
    _print(console, report, workdir)
    return report


def _print(console: Console, report: dict[str, Any], workdir: Path) -> None:
    table = Table("class", *("precision", "recall", "f1", "images"))
    for column in table.columns[1:]:
        column.justify = "right"
    for entry in report["per_class"]:
        ratios = (entry[name] for name in ("precision", "recall", "f1"))
        shown = ("-" if ratio is None else f"{ratio:.3f}" for ratio in ratios)
        table.add_row(entry["name"], *shown, str(entry["support"]))
    console.print(table)
    low, high = report["interval"]
    top = next(name for name in report if name.startswith("top"))
    console.print(
        f"accuracy {report['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}), "
        f"{top.removesuffix('_accuracy')} {report[top]:.2%}, loss {report['loss']:.4f}, "
        f"{report['count']:,} images of {report['split']}\n"
        f"{report['checkpoint']} checkpoint, step {report['step']}, {report['weights']} weights; "
        f"written: {workdir / EVAL_FILE}, {workdir / CONFUSION_PICTURE}",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
