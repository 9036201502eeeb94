"""Sends signals at random moments of runs, continues them, and compares them with a whole run.

Most signals are SIGKILL. After the others, the run saves a checkpoint before it ends.

python -m reliability.kills --kills 50 --out results/reliability

Kill number n of a seed always has the same intended place. The same command again continues after
the kills that the CSV file already has.
"""

import argparse
import collections
import contextlib
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks.report import print_table
from netzoo.config import CONFIG_FILE
from netzoo.workdir import BEST, CHECKPOINTS, METRICS_FILE
from reliability import runs
from reliability.config import CHECKPOINT_EVERY, EPOCHS, SIGNALS, STEPS

COLUMNS = ("kill", "place", "aim", "killed", "identical", "steps_again", "seconds", "differences")
TEMPORARY = "*.orbax-checkpoint-tmp"
SAVES = STEPS // CHECKPOINT_EVERY
# The places of `reliability.config.BREAKS`, and the largest number of a call at which a run breaks.
BROKEN_AT = {
    "configuration": 1,
    "step": STEPS - 1,
    "metrics": STEPS + EPOCHS - 1,
    "evaluation": 4 * EPOCHS,
    "before_rename": 3 * SAVES,
    "checksums": SAVES,
    "deletion": SAVES - 2,
    **{number.name.lower(): STEPS - 1 for number in SIGNALS},
}
NAMES = {
    "configuration": "while config.json is written",
    "step": "in a step",
    "metrics": "in a line of metrics.jsonl",
    "evaluation": "in an evaluation",
    "before_rename": "before a rename to the final name",
    "checksums": "while checksums are written",
    "deletion": "while an old checkpoint is deleted",
    "temporary": "after a temporary folder appeared",
    "renamed": "after a checkpoint got its final name",
    "best": "while the best weights are written",
    "grown": "after metrics.jsonl grew",
    **{number.name.lower(): f"{number.name} in a step" for number in SIGNALS},
    "time": "at a random time",
}


def draw(seed: int, number: int, seconds: float) -> tuple[str, float]:
    """Return the intended place of a kill, and the number of the call or event, or the seconds."""
    rng = random.Random(f"{seed} {number}")
    place = list(NAMES)[number % len(NAMES)]  # each equally often, time last
    if place in BROKEN_AT:
        return place, rng.randint(1, BROKEN_AT[place])
    if place == "time":
        return place, round(rng.uniform(0, seconds), 3)
    last = {"temporary": SAVES, "renamed": SAVES, "best": 2, "grown": STEPS + EPOCHS}[place]
    return place, rng.randint(1, last)


def seen(workdir: Path, place: str, known: set[str]) -> int:
    """Return how many events of a place have happened; `known` collects them."""
    folder = workdir / (BEST if place == "best" else CHECKPOINTS)
    if place == "grown":
        path = workdir / METRICS_FILE
        return path.read_bytes().count(b"\n") if path.exists() else 0
    if place == "renamed":
        known |= {path.name for path in folder.glob("*") if path.name.isdigit()}
    else:
        known |= {path.name for path in folder.glob(TEMPORARY)}
    return len(known)


def kill(workdir: Path, cache: Path, place: str, aim: float) -> subprocess.CompletedProcess:
    """Start a run, and kill it at a place if it does not kill itself there."""
    if place in BROKEN_AT:
        return runs.finish(workdir, cache, f"{place},{int(aim)}")
    process = runs.begin(workdir, cache)
    known: set[str] = set()
    began = None
    # Its output fits into the pipe, so it may be read at the end.
    while process.poll() is None:
        hit = False
        if place == "time":
            began = began or (time.monotonic() if (workdir / CONFIG_FILE).exists() else None)
            hit = began is not None and time.monotonic() - began >= aim
        else:
            with contextlib.suppress(FileNotFoundError):
                hit = seen(workdir, place, known) >= aim
        if hit:
            process.kill()
            break
        time.sleep(0.0005)
    out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def one(number: int, place: str, aim: float, whole: Path, cache: Path, folder: Path) -> dict:
    """Kill a run, continue it and compare it; return a line of the table."""
    workdir = folder / f"kill{number}"
    shutil.rmtree(workdir, ignore_errors=True)  # what an interrupted table left
    start = time.monotonic()
    killed = kill(workdir, cache, place, aim)
    logged = runs.last_logged(workdir)
    resumed = runs.finish(workdir, cache)
    if resumed.returncode:
        found = [f"status {resumed.returncode}: {resumed.stderr.strip()[-300:]}"]
    else:
        found = runs.differences(workdir, whole)
    if not found:
        shutil.rmtree(workdir)
    return {
        "kill": number,
        "place": NAMES[place],
        "aim": aim,
        "killed": int(killed.returncode == -signal.SIGKILL or killed.returncode > 128),
        "identical": int(not found),
        "steps_again": max(0, logged - runs.resumed_at(resumed.stdout)),
        "seconds": round(time.monotonic() - start, 1),  # of wall time, both runs
        "differences": "; ".join(found),
    }


def table(lines: list[dict]) -> None:
    """Print one row per place and the sum."""
    groups = collections.defaultdict(list)
    for line in lines:
        groups[line["place"]].append(line)
    groups["all"] = lines
    rows = [
        [place, *(str(sum(int(x[key]) for x in group)) for key in ("killed", "identical"))]
        for place, group in groups.items()
    ]
    for row, group in zip(rows, groups.values(), strict=True):
        row.insert(1, str(len(group)))
        row.append(str(sum(int(x["steps_again"]) for x in group)))
    columns = ("intended place", "times", "killed there", "ended identical", "steps done again")
    print_table("killed, then the same command to the end", columns, rows)


def main() -> int:
    """Run the command line; return 1 if a run did not end like the whole run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="number of runs to kill")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    parser.add_argument("--out", type=Path, required=True, help="folder for kills.csv")
    parser.add_argument("--work", type=Path, help="folder for the runs; by default a temporary one")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines = _all(options, folder)
    table(lines)
    seconds = sum(float(line["seconds"]) for line in lines)
    cores = os.cpu_count()
    print(f"{seconds:.0f} s for {len(lines)} runs, each killed and continued; {cores} cores")
    return int(any(not int(line["identical"]) for line in lines))


def _all(options: argparse.Namespace, folder: Path) -> list[dict]:
    cache, whole = folder / "cache", folder / "whole"
    if not runs.steps_in(whole) or runs.steps_in(whole)[-1] != STEPS:
        first = runs.finish(folder / "first", cache)  # compiles
        if first.returncode:
            sys.exit(f"the run fails without a kill:\n{first.stdout}{first.stderr}")
        runs.finish(whole, cache)
        if found := runs.differences(whole, folder / "first"):
            sys.exit(f"two runs that nobody kills differ in {found}")
    begun, ended = (whole / name for name in (CONFIG_FILE, METRICS_FILE))
    seconds = ended.stat().st_mtime - begun.stat().st_mtime
    path = options.out / "kills.csv"
    lines = list(csv.DictReader(path.open(newline=""))) if path.exists() else []
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=options.kills, completed=len(lines))
        for number in range(len(lines), options.kills):
            place, aim = draw(options.seed, number, seconds)
            progress.update(bar, description=NAMES[place])
            lines.append(one(number, place, aim, whole, cache, folder))
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(lines)
            progress.advance(bar)
    return lines


if __name__ == "__main__":
    sys.exit(main())
