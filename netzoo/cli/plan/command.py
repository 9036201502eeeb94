"""Estimates what a run needs on devices that need not exist.

netzoo plan --config configs/imagenet_resnet50.py --target tpu:v5e:2x4 gpu:h100:8
    [--classes 1000 --examples 1268355] [--largest-batch] [--out plan.json]
netzoo plan --config configs/vit.py --devices 1 8 64 512 4096 [--classes 1000]
    [--fixed_batch] [--out plan.csv] [--config.train.batch_size=64 ...]

For a TPU, the command compiles the training step with the TPU compiler, which needs netzoo[tpu-aot]
but no TPU, and which may take minutes. For a GPU, the command only counts the step. For --target
cpu, the default, the command compiles the step for numbers of virtual CPU devices. docs/scaling.md
explains which numbers are exact.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from netzoo.cli.arguments import Parser, typed_path
from netzoo.cli.plan.accelerator import fits, largest_batch, measure, proposal
from netzoo.cli.plan.estimate import (
    MAX_DEVICES,
    Estimate,
    abstract_mesh,
    estimate,
    task_and_batch,
    with_rows,
)
from netzoo.cli.plan.figure import draw
from netzoo.cli.plan.report import draw_plans, print_plans
from netzoo.cli.plan.roofline import Plan, plan
from netzoo.cli.plan.topology import CPU, Target, check_libtpu, parse_target
from netzoo.config import validate
from netzoo.config.overrides import override, read_config, split_overrides
from netzoo.console import json_text, print_table
from netzoo.csv_files import write_csv
from netzoo.errors import UserError, note
from netzoo.files import replacing
from netzoo.progress import track

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
    config, task, batch = task_and_batch(config, classes)
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


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 1 if a TPU refuses the step."""
    others, overrides = split_overrides(arguments)
    options = _parser().parse_args(others)
    targets = _targets(options)
    config = read_config(options.config)
    override(config, overrides)
    validate(config)
    if targets:
        return _plan_targets(config, targets, options)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", min(max(options.devices), MAX_DEVICES))
    devices = sorted(set(options.devices))
    results = _estimate_layouts(config, devices, options.classes, options.fixed_batch)
    each = "divided" if options.fixed_batch else "on each device"
    title = f"{config.model.name}, train.batch_size {config.train.batch_size} {each}"
    _print_table(results, title)
    if options.out:
        _write(options.out, [asdict(e) for e in results])
        draw(results, options.out.with_suffix(".png"), title)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser("netzoo plan", description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="FILE or FILE:ARGUMENT")
    parser.add_argument(
        "--target",
        nargs="+",
        default=[CPU],
        metavar="TARGET",
        help="cpu, tpu:v5e:2x4, tpu:v5e:4x4:2 for two slices, gpu:h100:8, ...",
    )
    parser.add_argument("--devices", type=int, nargs="+", help="for cpu: numbers of devices")
    parser.add_argument(
        "--classes", type=int, help="number of image classes, to plan without the data"
    )
    examples = "number of training examples, for the hours of a run planned with --classes"
    parser.add_argument("--examples", type=int, help=examples)
    largest = "for TPUs: search the largest batch of a chip, with a few compilations"
    parser.add_argument("--largest-batch", action="store_true", help=largest)
    fixed = "for cpu: divide train.batch_size among the devices, instead of one batch for each"
    parser.add_argument("--fixed_batch", action="store_true", help=fixed)
    parser.add_argument(
        "--out", type=typed_path, help="CSV or JSON file to write, with a figure .png beside it"
    )
    return parser


def _targets(options: argparse.Namespace) -> list[Target]:
    """Return the accelerators of the command line; none for cpu.

    Raises:
      UserError: A target is unknown, or other options do not fit the targets.
    """
    for name in ("classes", "examples"):
        if (number := getattr(options, name)) is not None and number < 1:
            raise UserError(f"--{name} {number}; expected at least 1")
    if options.target == [CPU]:
        if not options.devices:
            raise UserError("--target cpu needs --devices, such as --devices 1 8")
        if min(options.devices) < 1:
            raise UserError(f"--devices {min(options.devices)}; expected at least 1")
        if options.largest_batch or options.examples:
            raise UserError("--largest-batch and --examples need a --target such as tpu:v5e:2x4")
        return []
    if CPU in options.target:
        raise UserError("plan for cpu and for accelerators in separate commands")
    if options.devices or options.fixed_batch:
        raise UserError(
            "--devices and --fixed_batch are for --target cpu; another target names its number of "
            "chips, which train.batch_size is divided among"
        )
    targets = [parse_target(text) for text in options.target]
    if any(target.platform == "tpu" for target in targets):
        check_libtpu()
    elif options.largest_batch:
        raise UserError("--largest-batch needs a TPU target, because it compiles the step")
    return targets


def _plan_targets(
    config: ConfigDict, targets: Sequence[Target], options: argparse.Namespace
) -> int:
    plans: list[Plan] = []
    for target in targets:
        results = _results(config, target, options)
        chosen = max(
            (result for result in results if fits(result)),
            key=lambda result: result["rows"],
            default=results[-1],
        )
        shown = results if options.largest_batch else [chosen]
        model, epochs = config.model.name, config.train.epochs
        plans += [plan(each, target, model, epochs, options.examples) for each in shown]
        if fits(chosen) is False:
            _propose(config, target, {each["rows"] // target.chips: each for each in results})
    title = f"{config.model.name}, {config.model.dtype}"
    print_plans(plans, title)
    if options.out:
        _write(options.out, [asdict(each) for each in plans])
        draw_plans(plans, options.out.with_suffix(".png"), title)
    return int(any(each.fits is False for each in plans) and not options.largest_batch)


def _results(config: ConfigDict, target: Target, options: argparse.Namespace) -> list[Any]:
    if not (options.largest_batch and target.platform == "tpu"):
        return [measure(config, target, options.classes, None)]
    start = max(config.train.batch_size // target.chips, 1)
    tried = largest_batch(
        target,
        start,
        config.train.grad_accum_steps,
        lambda rows: measure(config, target, options.classes, rows * target.chips),
    )
    return [tried[rows] for rows in sorted(tried)]


def _propose(config: ConfigDict, target: Target, tried: Mapping[int, Any]) -> None:
    """Say why the compiler refuses the smallest batch, and which one should fit."""
    rows = min(tried)
    smaller = proposal(target, tried, config.train.grad_accum_steps)
    advice = (
        f"--config.train.batch_size={smaller * target.chips} should fit, {smaller} a chip "
        "(extrapolated, not compiled). --largest-batch compiles to find the largest"
        if smaller
        else "no smaller batch is expected to fit; try --config.train.remat=blocks or "
        "--config.sharding.fsdp=-1"
    )
    reason = tried[rows]["program"]["refusal"]
    note(f"{target} refuses a batch of {rows * target.chips}, {rows} a chip: {reason}\n{advice}")


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as JSON if the file is so named, otherwise as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        with replacing(path, "w", typed=True) as file:
            file.write(json_text(list(rows), pretty=True) + "\n")
    else:
        write_csv(path, rows[0].keys(), (row.values() for row in rows), typed=True)
