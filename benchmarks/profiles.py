"""Where a step spends its time: convolutions and products, transpositions, and the rest.

python -m benchmarks.profiles --model resnet18 googlenet_tv --mode train infer \
    --peer-python ~/torch/bin/python --out results/profiles

It runs the programs of `benchmarks.throughput` under the profiler of their library, one after the
other. Sums of BatchNorm count as products if XLA computes them in the library of its products.
"""

import itertools
import json
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import report
from benchmarks.contestants import find_python, running
from benchmarks.profile_worker import KINDS

KEY = ("model", "image_size", "batch_size", "mode", "library")
SHOWN = (*KINDS, "step")


def measure(pythons: dict[str, str], settings: dict[str, Any], steps: int) -> list[report.Line]:
    """Profile a step of each library; return a line for each, in milliseconds."""
    lines = []
    for library, python in pythons.items():
        more = {"contestant": library, "dtype": "float32", "remat": False, "steps": steps}
        text = json.dumps({**settings, **more})
        with running([(library, [python, "-m", "benchmarks.profile_worker", text])]) as (process,):
            answer = process.description
        milliseconds = {name: 1000 * answer["kinds"][name] for name in KINDS}
        milliseconds["step"] = 1000 * answer["step"]
        shared = {"library": library, "steps": steps, **report.machine()}
        lines.append({**settings, **shared, **milliseconds})
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile the missing rows and print the table as Markdown."""
    parser = report.flags("profiles", __doc__, repeats=6)
    add = parser.add_argument
    add("--model", nargs="+", default=["resnet18"], help="names in the registry")
    add("--mode", nargs="+", default=["train", "infer"], help="kinds of step")
    add("--image-size", type=int, default=128, help="pixels, both sides")
    add("--batch-size", nargs="+", type=int, default=[32], help="images per step")
    add("--peer-python", nargs="+", default=[], help="interpreters to try for torch")
    options = parser.parse_args(arguments)
    pythons = {"netzoo": sys.executable}
    needs = ("torch", "torchvision", "timm")
    if python := find_python("torch", needs, [*options.peer_python, sys.executable]):
        pythons["torch"] = python
    file = report.Lines(options.out, "profiles.csv", KEY)
    for mode, batch, model in itertools.product(options.mode, options.batch_size, options.model):
        settings = {"model": model, "image_size": options.image_size, "batch_size": batch}
        settings["mode"] = mode
        if None in [file.get([*settings.values(), library]) for library in pythons]:
            with report.CONSOLE.status(f"{model}, {mode}"):
                file.add(measure(pythons, settings, options.repeats))
    show(file.all())
    return 0


def show(lines: Sequence[report.Line]) -> None:
    """Print a table as Markdown, in milliseconds: a row for each step."""
    libraries = [*dict.fromkeys(line["library"] for line in lines)]
    head = ["step, batch", *(f"{library}: {kind}" for library in libraries for kind in SHOWN)]
    rows: dict[str, list[str]] = {}
    for line in lines:
        step = f"{line['model']}, {report.MODES[line['mode']]}, {line['batch_size']}"
        rows.setdefault(step, []).extend(f"{line[kind]:,.1f}" for kind in SHOWN)
    report.print_markdown(head, [[step, *cells] for step, cells in rows.items()])


if __name__ == "__main__":
    sys.exit(main())
