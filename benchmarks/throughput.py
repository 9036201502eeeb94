"""Images a second of a network, against the same network made of other layers.

python -m benchmarks.throughput --model mobilenet_v2 --image-size 128 --batch-size 32 \
    --mode train --repeats 7 --peers flax --out results/throughput.csv

Every contestant runs in a process of its own under the same environment, and they take turns:
what else the machine does meets all alike, and ratios are taken within a turn. All start from the
same parameters and the measurement stops if their losses differ. A training step is forward,
backward and AdamW, with donated state, on uint8 images that lie on the device; inference is the
forward pass and the loss. Compilation is that of the step, with tracing, without a cache.
"""

import argparse
import contextlib
import csv
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

# The first loss is that of the same numbers in another order. The second follows an update by
# Adam, which turns the rounding of small gradients into whole steps.
TOLERANCES = (1e-4, 1e-2)
PEERS = ("flax",)


class Worker:
    """The process of one contestant."""

    def __init__(self, contestant: str, settings: dict[str, Any]):
        environment = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        self.contestant = contestant
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.throughput", "--worker"),
                json.dumps({**settings, "contestant": contestant}),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.description = self._answer()

    def run(self, steps: int) -> dict[str, float]:
        """Runs some steps; returns `seconds` and, so far, `peak_bytes`."""
        with contextlib.suppress(BrokenPipeError):  # no answer will come, which is the error
            self._process.stdin.write(f"{steps}\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"error: {self.contestant} ended with status {self._process.wait()}")
        return json.loads(line)


def check_losses(workers: list[Worker]) -> None:
    """Stops the measurement where two contestants do not compute the same."""
    first = workers[0]
    for other in workers[1:]:
        pairs = zip(
            first.description["losses"], other.description["losses"], TOLERANCES, strict=True
        )
        for step, (a, b, tolerance) in enumerate(pairs, start=1):
            if not abs(a - b) <= tolerance * abs(a):
                sys.exit(
                    f"error: loss {step} is {a} for {first.contestant} and {b} for "
                    f"{other.contestant}; expected them to agree to {tolerance}, relative"
                )


def measure(settings: dict[str, Any], peers: list[str], repeats: int, steps: int):
    """Runs all contestants in turns.

    Returns:
      A row for each contestant, netzoo first, and the description that its process gave.
    """
    workers = []
    try:
        for contestant in ("netzoo", *peers):  # one after the other: compiling takes all cores
            workers.append(Worker(contestant, settings))
        check_losses(workers)
        for worker in workers:
            worker.run(1)
        turns = [[worker.run(steps) for worker in workers] for _ in range(repeats)]
    finally:
        for worker in workers:
            worker.close()
    images = settings["batch_size"] * steps
    rates = [[images / turn["seconds"] for turn in column] for column in zip(*turns, strict=True)]
    rows = []
    for index, worker in enumerate(workers):
        mine = rates[index]
        ratios = [ours / theirs for ours, theirs in zip(rates[0], mine, strict=True)]
        rows.append(
            {
                "contestant": worker.contestant,
                "images_per_second": statistics.median(mine),
                "slowest": min(mine),
                "fastest": max(mine),
                "netzoo_ratio": statistics.median(ratios),
                "netzoo_ratio_low": min(ratios),
                "netzoo_ratio_high": max(ratios),
                "compile_seconds": worker.description["compile_seconds"],
                "peak_mebibytes": turns[-1][index]["peak_bytes"] / 2**20,
                "first_loss": worker.description["losses"][0],
            }
        )
    return rows, workers[0].description


def show(rows: list[dict[str, Any]], settings: dict[str, Any], environment: dict) -> None:
    """Prints the table, and what it was measured on."""
    title = ", ".join(f"{key} {value}" for key, value in settings.items())
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0)
    table.add_column("layers", no_wrap=True)
    for name in ("img/s", "range", "netzoo is", "range", "compile s", "peak MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        ours = row["contestant"] == "netzoo"
        table.add_row(
            row["contestant"],
            f"{row['images_per_second']:.1f}",
            f"{row['slowest']:.1f}..{row['fastest']:.1f}",
            "" if ours else f"{row['netzoo_ratio']:.2f} x",
            "" if ours else f"{row['netzoo_ratio_low']:.2f}..{row['netzoo_ratio_high']:.2f}",
            f"{row['compile_seconds']:.1f}",
            f"{row['peak_mebibytes']:.0f}",
        )
    console = Console()
    console.print(table)
    for name in ("machine", "versions"):
        facts = ", ".join(f"{key} {value}" for key, value in environment[name].items())
        console.print(f"{name}: {facts}", highlight=False)


def write_csv(
    path: Path, rows: list[dict[str, Any]], settings: dict[str, Any], environment: dict
) -> None:
    """Writes a line for each contestant, with settings, machine and versions beside it."""
    common = {
        **settings,
        "parameters": environment["parameters"],
        **environment["machine"],
        **environment["versions"],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *common])
        writer.writeheader()
        writer.writerows({**row, **common} for row in rows)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", default="mobilenet_v2", help="name in the registry")
    parser.add_argument("--image-size", type=int, default=128, help="pixels, both sides")
    parser.add_argument("--batch-size", type=int, default=32, help="images a step")
    parser.add_argument("--mode", choices=("train", "infer"), default="train", help="kind of step")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="compute type"
    )
    parser.add_argument("--repeats", type=int, default=7, help="turns of every contestant")
    parser.add_argument("--steps", type=int, default=5, help="steps in a turn")
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, default=list(PEERS), help="layers to compare with"
    )
    parser.add_argument("--out", type=Path, help="CSV file to write")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measures, or is one of the measured."""
    options = parse(arguments)
    if options.worker:
        from benchmarks import worker  # JAX lives in the contestants only.

        worker.main(options.worker)
        return
    settings = {
        key: getattr(options, key)
        for key in ("model", "image_size", "batch_size", "mode", "dtype", "steps", "repeats")
    }
    rows, environment = measure(settings, options.peers, options.repeats, options.steps)
    show(rows, settings, environment)
    if options.out:
        write_csv(options.out, rows, settings, environment)


if __name__ == "__main__":
    main()
