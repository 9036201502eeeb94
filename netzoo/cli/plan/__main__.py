"""Estimates what a run needs on devices that one need not have.

python -m netzoo.cli.plan --config configs/vit.py --devices 1 8 64 512 4096 [--classes 1000]
    [--fixed_batch] [--out plan.csv] [--config.train.batch_size=64 ...]

Compiles the training step for so many virtual CPU devices and reads memory, operations and
communication from the program; docs/scaling.md says what of it is exact.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from netzoo.cli.plan.estimate import MOST_DEVICES, Estimate, estimate, mesh_for, with_rows
from netzoo.cli.plan.figure import draw
from netzoo.config.overrides import override, read_config, split_overrides
from netzoo.config.tasks import task_module
from netzoo.errors import UserError
from netzoo.progress import track
from netzoo.tasks import create_task, resolve_config
from netzoo.tasks.classification.task import ImageClassification


class _WithoutData(ImageClassification):
    """Image classification of so many classes that nobody has pictures of."""

    def __init__(self, config: ConfigDict, classes: int):
        self._classes = classes
        super().__init__(config)

    def _open(self, split: str):
        return _NoImages(1000 * self._config.train.batch_size, self._classes)

    def train_iterator(self):
        """Returns the shapes of a batch."""
        rows, size = self._config.train.batch_size, self._config.data.image_size
        yield {
            "image": jax.ShapeDtypeStruct((rows, size, size, 3), "uint8"),
            "label": jax.ShapeDtypeStruct((rows,), "int32"),
        }


class _NoImages:
    def __init__(self, count: int, classes: int):
        self._count, self.class_names = count, tuple(map(str, range(classes)))

    def __len__(self) -> int:
        return self._count


def estimates(
    config: ConfigDict,
    devices: Sequence[int],
    *,
    classes: int | None = None,
    fixed_batch: bool = False,
    each: Callable[[list], Any] = list,
) -> list[Estimate]:
    """Estimates a step for every number of devices, data parallel and with shared parameters.

    Args:
      config: The configuration. Its `sharding.fsdp` devices share the parameters, all if it is 1.
      devices: Numbers of devices.
      classes: Of images that need not be there; None: those of the data.
      fixed_batch: `train.batch_size` is divided over the devices; else each gets as much.
      each: Goes through the compilations, say with a progress bar.

    Raises:
      UserError: Configuration, data or numbers do not fit together.
    """
    config = resolve_config(config)
    if classes is None:
        task = create_task(config)
    elif issubclass(task_module(config.task, "task").TASK, ImageClassification):
        task = _WithoutData(config, classes)
    else:
        raise UserError(f"--classes is for images, and task is {config.task}; leave it out")
    batch = next(iter(task.train_iterator()))
    batch = with_rows(batch, jax.tree.leaves(batch)[0].shape[0])
    shared = -1 if config.sharding.fsdp == 1 else config.sharding.fsdp
    # One device alone has nobody to share with.
    wanted = [(n, fsdp) for n in devices for fsdp in ((1, min(shared, n)) if n > 1 else (1,))]
    rows = {n: jax.tree.leaves(batch)[0].shape[0] * (1 if fixed_batch else n) for n in devices}
    for count, fsdp in wanted:
        mesh_for(config, rows[count], count, fsdp)  # before the first compilation
    return [
        estimate(config, task, with_rows(batch, rows[count]), count, fsdp=fsdp)
        for count, fsdp in each(wanted)
    ]


# Title, and what stands under it.
_COLUMNS: tuple[tuple[str, Callable[[Estimate], str]], ...] = (
    ("devices", lambda e: f"{e.devices:,}"),
    ("strategy", lambda e: e.strategy),
    ("rows", lambda e: f"{e.rows:,}"),
    ("parameters", lambda e: _mib(e.parameters)),
    ("optimizer", lambda e: _mib(e.optimizer)),
    ("average", lambda e: _mib(e.average)),
    ("batch", lambda e: _mib(e.batch)),
    ("gradients*", lambda e: _mib(e.gradients)),
    ("temporaries", lambda e: _mib(e.temporaries)),
    ("memory", lambda e: _mib(e.memory)),
    ("sends", lambda e: _mib(e.sent_total)),
    ("GFLOP", lambda e: f"{e.flops / 1e9:,.1f}"),
    ("GFLOP, all", lambda e: f"{e.flops * e.devices / 1e9:,.0f}"),
)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"


def _show(found: Sequence[Estimate], title: str) -> None:
    table = Table(title=title, caption="MiB on each device, a step; * part of the temporaries")
    for name, _ in _COLUMNS:
        table.add_column(name, justify="left" if name == "strategy" else "right", no_wrap=True)
    for entry in found:
        table.add_row(*(text(entry) for _, text in _COLUMNS))
    Console(width=None if Console().is_terminal else 150).print(table)


def _write(found: Sequence[Estimate], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        rows = [{**asdict(e), "memory": e.memory, "sent": e.sent_total} for e in found]
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m netzoo.cli.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, help="FILE or FILE:ARGUMENT")
    parser.add_argument("--devices", type=int, nargs="+", required=True, help="numbers of devices")
    parser.add_argument("--classes", type=int, help="of images; then no data is needed")
    parser.add_argument(
        "--fixed_batch",
        action="store_true",
        help="divide train.batch_size over the devices, instead of giving each as much",
    )
    parser.add_argument("--out", type=Path, help="CSV to write; the figure goes beside it, .png")
    others, overrides = split_overrides(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(others)
    try:
        if min(options.devices) < 1:
            raise UserError(f"--devices {min(options.devices)}; expected at least 1")
        config = read_config(options.config)
        override(config, overrides)
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", min(max(options.devices), MOST_DEVICES))
        found = estimates(
            config,
            sorted(set(options.devices)),
            classes=options.classes,
            fixed_batch=options.fixed_batch,
            each=lambda wanted: track(wanted, "compiling", Console(stderr=True)),
        )
        each = "divided" if options.fixed_batch else "on each device"
        title = f"{config.model.name}, train.batch_size {config.train.batch_size} {each}"
        _show(found, title)
        if options.out:
            _write(found, options.out)
            draw(found, options.out.with_suffix(".png"), title)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
