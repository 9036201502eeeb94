"""Seconds of a start: `import netzoo`, the first step of a training, the prediction of one picture.

python -m benchmarks.startup --repeats 3 --out results/startup

It trains `configs/mobilenet_v2.py` on the synthetic flowers, which it generates before it measures.
It predicts with a run of the same network, which it trains for one step before it measures. The
first training and the first prediction start with an empty cache of compiled programs, the second
ones with the cache that the first ones filled. The measurements take turns.

The processor seconds (user and system) count the work on all cores. Other programs on the machine
change them less than the seconds on the clock.
"""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import report
from benchmarks.contestants import ROOT, spread
from netzoo.cache import CACHE_VARIABLE
from netzoo.cli.compile_cache import JAX_VARIABLE
from netzoo.data import open_source
from netzoo.workdir import METRICS_FILE

OVERRIDES = {
    "data.source": "synthetic_flowers",
    "data.train_split": "train",
    "data.test_split": "test",
    "train.log_every_steps": 1,
}
# Of the run that predicts: one step, and one batch to evaluate at its end.
SHORTEST = {"data.train_split": "train[:32]", "train.epochs": 1, "evaluation.every_epochs": 0}
KEY = ("run", "config")
_COLUMNS = ("seconds", "fastest", "slowest")


class Cost(NamedTuple):
    """What a start takes."""

    seconds: float  # on the clock
    processor_seconds: float  # user and system time of the process, on all cores


def train_command(config: str, workdir: Path, **overrides: object) -> list[str]:
    """Return the command that trains on the synthetic flowers."""
    command = ["train.py", "--config", config, "--workdir", str(workdir)]
    return command + [f"--config.{key}={value}" for key, value in (OVERRIDES | overrides).items()]


def cost(command: Sequence[str], cache: Path, done: Callable[[], bool] = lambda: False) -> Cost:
    """Run `python COMMAND` until it ends or is `done`, with programs cached in `cache`.

    Raises:
      SystemExit: The command failed, or ended before it was done.
    """
    environment = {**os.environ, CACHE_VARIABLE: str(cache)}
    environment.pop(JAX_VARIABLE, None)  # JAX would prefer it to the cache
    before, start = _processor_seconds(), time.perf_counter()
    arguments = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "env": environment}
    process = subprocess.Popen([sys.executable, *command], **arguments)
    try:
        while process.poll() is None and not done():
            time.sleep(0.01)
        seconds = time.perf_counter() - start
    finally:
        process.kill()
        process.wait()
    if process.returncode and not done():
        sys.exit(f"error: {command[0]} ended with status {process.returncode}")
    return Cost(seconds, _processor_seconds() - before)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cost_of_first_step(config: str, workdir: Path, cache: Path) -> Cost:
    """Start training, wait until the first step is logged, and end the process.

    Raises:
      SystemExit: Training ended before that.
    """

    def logged() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return (workdir / METRICS_FILE).stat().st_size > 0
        return False

    return cost(train_command(config, workdir), cache, logged)


def costs(config: str, run: Path, picture: Path) -> Iterator[tuple[str, Cost]]:
    """Measure every start once, and yield the name and the cost of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache, predict = folder / "cache", ["predict.py", "--workdir", str(run), str(picture)]
        yield "import netzoo", cost(["-c", "import netzoo"], cache)
        for turn in ("first", "second"):
            yield f"{turn} run", cost_of_first_step(config, folder / turn, cache)
            yield f"{turn} prediction", cost(predict, cache)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = report.flags("startup", __doc__, repeats=3)
    parser.add_argument("--config", default="configs/mobilenet_v2.py", help="what to train")
    options = parser.parse_args(arguments)
    example = open_source(OVERRIDES["data.source"], OVERRIDES["data.train_split"])[0]
    found: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as name:
        run, picture = Path(name, "run"), Path(name, "flower.jpg")
        picture.write_bytes(example["image"])
        cost(train_command(options.config, run, **SHORTEST), Path(name, "cache"))
        for _ in range(options.repeats):
            for start, measured in costs(options.config, run, picture):
                found.setdefault(start, []).append(measured)
    lines = [
        {
            "run": start,
            "config": options.config,
            **dict(zip(_COLUMNS, spread([x.seconds for x in measured]), strict=True)),
            "processor_seconds": spread([x.processor_seconds for x in measured])[0],
            "repeats": options.repeats,
            **report.machine(),
        }
        for start, measured in found.items()
    ]
    report.Lines(options.out, "startup.csv", KEY).add(lines)
    rows = [
        (
            x["run"],
            f"{x['seconds']:.2f}",
            f"{x['fastest']:.2f}..{x['slowest']:.2f}",
            f"{x['processor_seconds']:.2f}",
        )
        for x in lines
    ]
    columns = ("", "seconds", "range", "processor seconds")
    report.print_table(options.config, columns, rows)
    report.print_machine(lines)


if __name__ == "__main__":
    main()
