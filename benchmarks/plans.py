"""Plans runs on TPUs with the TPU compiler, and writes a table plan by plan.

python -m benchmarks.plans --out results/plans [--only imagenet_resnet50] [--table]

The command needs the library libtpu (extra tpu-aot), but no TPU. Programs are compiled one at a
time, each for minutes. A line is written to `plans.csv` at once, and the same command skips the
lines that the file has. `--table` prints the file and compiles nothing.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from benchmarks import report
from netzoo.cli.plan.accelerator import largest_batch, measure
from netzoo.cli.plan.roofline import plan
from netzoo.cli.plan.topology import Target, check_libtpu, parse_target
from netzoo.config import default_config
from netzoo.config.overrides import override, read_config

KEY = ("run", "target", "rows")
CLASSES, TRAIN_EXAMPLES = 1000, 1_268_355  # 99 % of the training images of ImageNet-1k


class Case(NamedTuple):
    """A run to plan.

    Attributes:
      run: A configuration of the package, or a network, which is trained with the default
        configuration at 224 pixels in bfloat16.
      target: The chips.
      batch: The batch of a chip; None for the batch of the configuration, divided.
      search: Whether to search the largest batch.
    """

    run: str
    target: str
    batch: int | None = None
    search: bool = False


IMAGENET = ("imagenet_resnet50", "imagenet_vit_s16", "imagenet_mobilenet_v3")
RECIPES = (*IMAGENET, "flowers_224")
# A network of each structure.
NETWORKS = (
    *("mobilenet_v3_small", "alexnet", "resnet50", "vit_b16", "mobilenet_v2", "mobilenet_v1"),
    *("vgg16_bn", "googlenet_bn", "mobilenet_v3_large", "r26_s32"),
)
CASES = (
    Case("imagenet_resnet50", "tpu:v5e:2x4"),
    Case("imagenet_vit_s16", "tpu:v5e:2x4"),
    Case("mobilenet_v3_small", "tpu:v5e:1x1", 128),
    Case("flowers_224", "tpu:v5e:1x1", search=True),
    Case("imagenet_mobilenet_v3", "tpu:v5e:2x4"),
    *(Case(name, "tpu:v4:2x2x4") for name in IMAGENET),
    *(Case(name, "tpu:v5e:16x16") for name in IMAGENET),
    *(Case(name, "tpu:v5e:1x1", 128) for name in NETWORKS[1:]),
    *(Case(name, "tpu:v5e:2x4", 128) for name in NETWORKS),
)


def configuration(case: Case) -> ConfigDict:
    """Return the configuration of a run."""
    if case.run in RECIPES:
        return read_config(case.run)
    config = default_config()
    override(config, {"model.name": case.run, "model.dtype": "bfloat16"})
    config.data.image_size = 224
    return config


def lines_of(case: Case) -> list[report.Line]:
    """Compile the programs of a case; return a line for each, the smallest batch first."""
    config, target = configuration(case), parse_target(case.target)
    classes, examples = (5, 2642) if case.run == "flowers_224" else (CLASSES, TRAIN_EXAMPLES)
    rows = case.batch * target.chips if case.batch else config.train.batch_size

    def measured(rows_of_a_chip: int) -> dict[str, Any]:
        return measure(config, target, classes, rows_of_a_chip * target.chips)

    start = rows // target.chips
    tried = largest_batch(target, start, 1, measured) if case.search else {start: measured(start)}
    return [_line(case, config, target, tried[each], examples) for each in sorted(tried)]


def _line(
    case: Case, config: ConfigDict, target: Target, result: dict[str, Any], examples: int
) -> report.Line:
    own = case.run in RECIPES  # the default configuration says nothing of a run's length
    epochs = config.train.epochs
    found = plan(result, target, config.model.name, epochs, examples if own else None)
    line = {"run": case.run, **asdict(found)}
    return {name: "" if value is None else value for name, value in line.items()}


def print_lines(lines: Sequence[report.Line]) -> None:
    """Print the table of the plans as Markdown."""
    head = (
        *("run", "target", "batch", "fits", "in use, GiB", "XLA's peak", "products, TFLOP"),
        *("traffic, GB", "sent, MiB", "compute, ms", "memory, ms", "communication, ms"),
        *("images/s, at most", "chip-hours, at least", "compiled in, s"),
    )
    rows = []
    for line in lines:
        fits = "yes" if line["fits"] in (True, "True") else "no"
        cells = [line["run"], line["target"], f"{line['rows']:,}", fits]
        cells.append(_scaled(line["used"], 2**30, 2))
        if fits == "no":
            cells += [""] * (len(head) - len(cells) - 1)
        else:
            cells += [_scaled(line["peak"], 2**30, 2), _scaled(line["flops"], 1e12, 2)]
            cells += [_scaled(line["bytes"], 1e9, 1), _scaled(line["sent"], 2**20, 1)]
            times = ("compute_seconds", "memory_seconds", "sending_seconds")
            cells += [_scaled(line[name], 1e-3, 1) for name in times]
            cells += [_scaled(line["per_second"], 1, 0), _scaled(line["chip_hours"], 1, 1)]
        cells.append(_scaled(line["compile_seconds"], 1, 0))
        rows.append(cells)
    report.print_markdown(head, rows, texts=2)


def _scaled(value: Any, unit: float, digits: int) -> str:
    return "" if value == "" else f"{value / unit:,.{digits}f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plans", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of plans.csv")
    parser.add_argument("--only", nargs="+", help="configurations or networks to compile")
    parser.add_argument("--table", action="store_true", help="print the table; compile nothing")
    options = parser.parse_args(arguments)
    lines = report.Lines(options.out, "plans.csv", KEY)
    if not options.table:
        check_libtpu()
        for case in CASES:
            if not options.only or case.run in options.only:
                compile_case(lines, case)
    print_lines(lines.all())


def compile_case(lines: report.Lines, case: Case) -> None:
    """Add the lines of a case, unless they are there."""
    if any((line["run"], line["target"]) == (case.run, case.target) for line in lines.all()):
        return
    lines.add(lines_of(case))


if __name__ == "__main__":
    main()
