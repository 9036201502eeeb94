"""Seconds from the command `train.py` to its first finished training step.

python -m benchmarks.startup --repeats 3 --out results/startup

It trains `configs/mobilenet_v2.py` on the synthetic flowers, which it generates before it measures.
The first run of a pair starts with an empty cache of compiled programs, the second with the cache
that the first run filled.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.contestants import ROOT, spread
from netzoo.cache import CACHE_VARIABLE
from netzoo.data import open_source
from netzoo.workdir import METRICS_FILE

RUNS = ("first run", "second run")
OVERRIDES = {
    "data.source": "synthetic_flowers",
    "data.train_split": "train",
    "data.test_split": "test",
    "train.log_every_steps": 1,
}
KEY = ("run", "config")


def seconds_to_first_step(config: str, workdir: Path, cache: Path) -> float:
    """Start training, wait until the first step is logged, and end the process.

    Raises:
      SystemExit: Training ended before that.
    """
    command = [sys.executable, "train.py", "--config", config, "--workdir", str(workdir)]
    command += [f"--config.{key}={value}" for key, value in OVERRIDES.items()]
    start = time.perf_counter()
    environment = {**os.environ, CACHE_VARIABLE: str(cache)}
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=environment)
    try:
        while process.poll() is None:
            with contextlib.suppress(FileNotFoundError):
                if (workdir / METRICS_FILE).stat().st_size:
                    return time.perf_counter() - start
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    sys.exit(f"error: training ended with status {process.returncode}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = report.flags("startup", __doc__, repeats=3)
    parser.add_argument("--config", default="configs/mobilenet_v2.py", help="what to train")
    options = parser.parse_args(arguments)
    open_source(OVERRIDES["data.source"], OVERRIDES["data.train_split"])
    seconds: dict[str, list[float]] = {run: [] for run in RUNS}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for run in RUNS:
                workdir, cache = Path(folder, run), Path(folder, "cache")
                seconds[run].append(seconds_to_first_step(options.config, workdir, cache))
    columns = ("seconds", "fastest", "slowest")
    lines = [
        {
            "run": run,
            "config": options.config,
            **dict(zip(columns, spread(mine), strict=True)),
            "repeats": options.repeats,
            **report.machine(),
        }
        for run, mine in seconds.items()
    ]
    report.Lines(options.out, "startup.csv", KEY).add(lines)
    rows = [
        [x["run"], f"{x['seconds']:.1f}", f"{x['fastest']:.1f}..{x['slowest']:.1f}"] for x in lines
    ]
    report.print_table(options.config, ("", "seconds to the first step", "range"), rows)
    report.print_machine(lines)


if __name__ == "__main__":
    main()
