"""Measures an accelerator in ten minutes.

python -m benchmarks.accelerator --out results/accelerator --peer-python ~/torch/bin/python
python -m benchmarks.accelerator --out /tmp/try --tiny          (on a CPU: every section, tiny)

Every section of `benchmarks.accelerator_sections` runs in a process of its own, with a share of
`--seconds`. A section that takes longer is ended, and one that fails does not stop the others. A
section writes its CSV file anew after every measurement, so an interruption loses only the
measurement that it interrupts. `summary.csv` says how each section ended.
"""

import argparse
import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.contestants import ENVIRONMENT, ROOT

# The sections in order, and the share of the seconds that each may use. The last section,
# which has the most measurements, also gets the time that the others leave.
SHARES = {
    "device": 0.05,
    "attention": 0.12,
    "determinism": 0.15,
    "training": 0.33,
    "throughput": 0.35,
}
GRACE_SECONDS = 5  # between SIGTERM and SIGKILL


def run_section(name: str, options: dict[str, Any], seconds: float) -> report.Line:
    """Run a section with all processes that it starts, and end them after `seconds`.

    Returns:
      A line of the summary.
    """
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.accelerator_sections", name, json.dumps(options)]
    # A section and the programs that it starts share the memory of the device.
    environment = {**os.environ, **ENVIRONMENT}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        status = process.wait(seconds)
        ended = "complete" if status == 0 else f"failed with status {status}"
    except subprocess.TimeoutExpired:
        ended = f"cut after {seconds:.0f} s"
    finally:
        end_group(process)
    took = round(time.monotonic() - began, 1)
    return {"section": name, "ended": ended, "seconds": took, "given": round(seconds, 1)}


def end_group(process: subprocess.Popen) -> None:
    """End a process and all processes of its group, which may outlive it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)


def show(folder: Path) -> None:
    """Print the results of all sections, a table for each; throughput prints its own."""
    for path in [*(folder / f"{name}.csv" for name in SHARES), folder / "summary.csv"]:
        if path.exists() and path.stem != "throughput":
            with path.open(newline="") as file:
                columns, *rows = csv.reader(file)
            report.print_table(path.stem, columns, [[*map(shortened, row)] for row in rows])


def shortened(text: str) -> str:
    """Return a number with four digits, and other text as it is."""
    with contextlib.suppress(ValueError):
        return f"{float(text):.4g}" if "." in text else text
    return text


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = report.flags("accelerator", __doc__, repeats=5)
    add = parser.add_argument
    add("--seconds", type=float, default=600, help="time for all sections")
    add("--sections", default=",".join(SHARES), help="sections, separated by commas")
    add("--tiny", action="store_true", help="small shapes and data, to try the sections on a CPU")
    add("--source", default="tfds:tf_flowers", help="data.source of the training")
    add("--peer-python", nargs="+", default=[], help="interpreters to try for torch")
    options = parser.parse_args(arguments)
    options.sections = [name for name in options.sections.split(",") if name]
    for name in options.sections:
        if name not in SHARES:
            parser.error(f"unknown section {name!r}; expected some of {','.join(SHARES)}")
    if options.out is None:
        parser.error("--out is missing: the folder for the results")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; return 1 if one was cut or failed."""
    options = parse(arguments)
    deadline = time.monotonic() + options.seconds
    out = options.out.absolute()
    summary = report.Lines(out, "summary.csv", ("section",))
    settings = {
        "out": str(out),
        "repeats": options.repeats,
        "tiny": options.tiny,
        "source": options.source,
        "peer_python": options.peer_python,
    }
    lines = []
    for number, name in enumerate(options.sections, start=1):
        left = deadline - time.monotonic()
        last = number == len(options.sections)
        seconds = left if last else min(left, SHARES[name] * options.seconds)
        report.CONSOLE.print(f"{name}: up to {seconds:.0f} s")
        lines.append(run_section(name, settings, max(seconds, 0)))
        summary.add(lines)
    show(out)
    return int(any(line["ended"] != "complete" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
