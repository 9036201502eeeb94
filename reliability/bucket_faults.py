"""Lets requests of a run to its bucket fail, and compares the results.

python -m reliability.bucket_faults --out results/reliability

Each run trains in an emulated bucket while requests fail. A run that ends with an error is started
again without the fault. The result is compared with a run without faults, bit for bit. The same
command again continues after the faults that the CSV file already has.
"""

import argparse
import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.report import print_table
from netzoo.paths import run_path
from reliability import runs
from reliability.emulator import BUCKET, Emulator, Fault, emulated_bucket

COLUMNS = ("fault", "end", "as_expected", "identical", "steps_again", "seconds")
ALWAYS = 10**6
ARRAYS = "POST .*/checkpoints/10/state/.*/d/"


class Case(NamedTuple):
    """Requests that fail, and the error with which the run ends; "" if it goes on."""

    faults: tuple[Fault, ...]
    error: str = ""


CASES = {
    "503 three times for an array": Case((Fault(ARRAYS, 3, status=503),)),
    "503 three times for metrics.jsonl": Case((Fault("POST .*/metrics.jsonl", 3, status=503),)),
    "503 twice for the deletion of a checkpoint": Case(
        (Fault("DELETE .*/checkpoints/", 2, status=503),)
    ),
    "20 answers that are 2 s late": Case((Fault("POST .*/checkpoints/", 20, delay=2.0),)),
    "connection cut while an array is written": Case((Fault(ARRAYS, 2, cut=True),)),
    "connection cut while checksums are written": Case(
        (Fault("POST .*/checkpoints/10/checksums", 1, cut=True),)
    ),
    "connection cut after an object was stored": Case(
        (Fault("POST .*/checkpoints/10/", 3, cut=True, stored=True),)
    ),
    "answer to a heartbeat lost": Case((Fault("POST .*/lock", 2, after=1, cut=True, stored=True),)),
    "503 without end for metrics.jsonl": Case(
        (Fault("POST .*/metrics.jsonl", ALWAYS, after=5, status=503),),
        "it does not answer as expected",
    ),
    "permission lost in the middle of a checkpoint": Case(
        (Fault(ARRAYS, ALWAYS, status=403),), "no checkpoint can be written"
    ),
    "no permission to write": Case((Fault("POST", ALWAYS, status=403),), "no permission"),
    "no permission to read": Case((Fault("GET", ALWAYS, status=403),), "no permission"),
    "no credentials": Case((Fault(".", ALWAYS, status=401),), "no credentials"),
    "no such bucket": Case((Fault("GET .*/o\\?", ALWAYS, status=404),), "no such bucket"),
}


def tried(name: str, emulator: Emulator, whole: Path, cache: Path) -> dict[str, Any]:
    """Train with a fault, continue if the run ends, and return a line of the table."""
    case, workdir = CASES[name], whole.with_name(name.replace(" ", "_"))
    start = time.monotonic()
    with emulator.failing(*case.faults):
        done = runs.finish(workdir, cache)
        failed = emulator.failed()
    # TensorStore may print its own tracebacks before the error.
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if case.error:
        as_expected = done.returncode == 1 and last.startswith("error: ") and case.error in last
    else:
        as_expected = done.returncode == 0 and "Traceback" not in done.stderr
    logged, again = runs.last_logged(workdir), 0
    if case.error:
        resumed = runs.finish(workdir, cache)
        again = max(0, logged - runs.resumed_at(resumed.stdout))
    if not as_expected:
        print(f"{name}: status {done.returncode}: {done.stderr[-2000:]}", file=sys.stderr)
    return {
        "fault": name,
        "end": f"error: {case.error}" if case.error else "goes on",
        "as_expected": int(as_expected and failed > 0),
        "identical": int(not runs.differences(workdir, whole)),
        "steps_again": again,
        "seconds": round(time.monotonic() - start, 1),
    }


def main() -> int:
    """Run the command line; return 1 if a fault was not survived."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for bucket_faults.csv")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "bucket_faults.csv"
    lines: list[dict[str, Any]] = []
    if path.exists():
        lines += csv.DictReader(path.open(newline=""))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with emulated_bucket(folder / "objects") as emulator:
            whole = run_path(f"gs://{BUCKET}/faults/whole")
            if (done := runs.finish(whole, folder / "cache")).returncode:
                sys.exit(f"the run fails without a fault:\n{done.stdout}{done.stderr}")
            for name in [name for name in CASES if name not in [x["fault"] for x in lines]]:
                lines.append(tried(name, emulator, whole, folder / "cache"))
                lines.sort(key=lambda line: list(CASES).index(line["fault"]))
                with path.open("w", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS)
                    writer.writeheader()
                    writer.writerows(lines)
    print_table("faults", COLUMNS, [[str(line[key]) for key in COLUMNS] for line in lines])
    return int(not all(int(line["as_expected"]) and int(line["identical"]) for line in lines))


if __name__ == "__main__":
    sys.exit(main())
