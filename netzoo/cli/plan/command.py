"""Estimates what a run needs on devices that need not exist.

netzoo plan --config configs/vit.py --devices 1 8 64 512 4096 [--classes 1000]
    [--fixed_batch] [--out plan.csv] [--config.train.batch_size=64 ...]

It compiles the training step for virtual CPU devices and reads memory, operations and communication
from the program. docs/scaling.md explains which numbers are exact.
"""

from collections.abc import Sequence
from dataclasses import asdict

import jax
from ml_collections import ConfigDict

from netzoo.cli.arguments import Parser, typed_path
from netzoo.cli.plan.estimate import MAX_DEVICES, Estimate, abstract_mesh, estimate, with_rows
from netzoo.cli.plan.figure import draw
from netzoo.config.overrides import override, read_config, split_overrides
from netzoo.config.tasks import task_module
from netzoo.console import print_table
from netzoo.csv_files import write_csv
from netzoo.errors import UserError
from netzoo.progress import track
from netzoo.tasks import create_resolved_task, resolve_config

_BYTES = (
    *("parameters", "optimizer", "average", "batch"),
    *("gradients", "temporaries", "memory", "sent"),
)


def _estimate_layouts(
    config: ConfigDict, devices: Sequence[int], classes: int | None, fixed_batch: bool
) -> list[Estimate]:
    """Estimate a step for every number of devices, with replicated and sharded parameters.

    Parameters are sharded over `sharding.fsdp` devices, or all devices if it is 1.
    """
    config = resolve_config(config, open_data=classes is None)
    if classes is None:
        task = create_resolved_task(config)
        batch = next(task.train_iterator())
    else:
        task, batch = task_module(config.task, "task").TASK.without_data(config, classes)
    shared = -1 if config.sharding.fsdp == 1 else config.sharding.fsdp
    layouts = [(n, fsdp) for n in devices for fsdp in ((1, min(shared, n)) if n > 1 else (1,))]
    rows = {n: jax.tree.leaves(batch)[0].shape[0] * (1 if fixed_batch else n) for n in devices}
    for count, fsdp in layouts:
        abstract_mesh(config, rows[count], count, fsdp)  # fails before the first compilation
    return [
        estimate(config, task, with_rows(batch, rows[count]), count, fsdp=fsdp)
        for count, fsdp in track(layouts, "compiling")
    ]


def _print_table(estimates: Sequence[Estimate], title: str) -> None:
    numbers = ("rows", *_BYTES, "GFLOP", "GFLOP, all")
    rows = []
    for e in estimates:
        sizes = (f"{getattr(e, name) / 2**20:,.1f}" for name in _BYTES)
        flops = (f"{e.flops / 1e9:,.1f}", f"{e.flops * e.devices / 1e9:,.0f}")
        rows.append((f"{e.devices:,}", e.strategy, f"{e.rows:,}", *sizes, *flops))
    print_table(
        ("devices", "strategy", *numbers),
        rows,
        right=("devices", *numbers),
        title=title,
        caption="MiB per device and step; temporaries include gradients",
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = Parser("netzoo plan", description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="FILE or FILE:ARGUMENT")
    parser.add_argument("--devices", type=int, nargs="+", required=True, help="numbers of devices")
    parser.add_argument(
        "--classes", type=int, help="number of image classes, to plan without the data"
    )
    fixed = "divide train.batch_size among the devices, instead of one batch for each"
    parser.add_argument("--fixed_batch", action="store_true", help=fixed)
    parser.add_argument(
        "--out", type=typed_path, help="CSV file to write, with a figure .png beside it"
    )
    others, overrides = split_overrides(arguments)
    options = parser.parse_args(others)
    if min(options.devices) < 1:
        raise UserError(f"--devices {min(options.devices)}; expected at least 1")
    config = read_config(options.config)
    override(config, overrides)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", min(max(options.devices), MAX_DEVICES))
    devices = sorted(set(options.devices))
    results = _estimate_layouts(config, devices, options.classes, options.fixed_batch)
    each = "divided" if options.fixed_batch else "on each device"
    title = f"{config.model.name}, train.batch_size {config.train.batch_size} {each}"
    _print_table(results, title)
    if options.out:
        rows = [asdict(e) for e in results]
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_csv(options.out, rows[0].keys(), (row.values() for row in rows), typed=True)
        draw(results, options.out.with_suffix(".png"), title)
