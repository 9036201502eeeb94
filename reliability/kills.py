"""Sends signals at random moments of runs, continues them, and compares them with a whole run.

Most signals are SIGKILL. After the others, the run saves a checkpoint before it ends.

python -m reliability.kills --kills 50 --out results/reliability
python -m reliability.kills --kills 20 --processes 2 --out results/reliability
python -m reliability.kills --kills 30 --bucket --out results/reliability

With several processes, SIGKILL ends one of them, and the others have to end by themselves. With
--bucket, the runs are in an emulated bucket, which kills the run instead of answering a request.

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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from benchmarks.report import print_table
from netzoo.buckets import is_in_bucket
from netzoo.config import CONFIG_FILE
from netzoo.files import files_below
from netzoo.paths import run_path
from netzoo.workdir import BEST, CHECKPOINTS, METRICS_FILE
from reliability import runs
from reliability.config import CHECKPOINT_EVERY, EPOCHS, SIGNALS, STEPS
from reliability.emulator import BUCKET, Emulator, Fault, emulated_bucket

COLUMNS = (
    *("kill", "place", "aim", "process", "killed", "identical", "steps_again", "seconds"),
    "differences",
)
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
SIGNAL_PLACES = {number.name.lower() for number in SIGNALS}
IN_PROCESS_0 = {"configuration", "metrics", "before_rename", "checksums", "deletion"}
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
# The places of a run in a bucket: requests, and places of `reliability.config.BREAKS`.
REQUESTS = {
    "configuration": r"POST .*/config\.json",
    "log": r"POST .*/metrics\.jsonl",
    "events": r"POST .*/tensorboard/",
    "array": r"POST .*/checkpoints/\d+/state/.*/d/",
    "checksums": r"POST .*/checkpoints/\d+/checksums\.json",
    "completion": r"POST .*/checkpoints/\d+/commit_success\.txt.*upload_id",
    "deletion": r"DELETE .*/checkpoints/\d+/",
    "best": r"POST .*/best/\d+/",
    "lock": r"POST .*/lock",
}
NAMES_IN_BUCKET = {
    "configuration": "while config.json is written",
    "log": "while metrics.jsonl is written",
    "events": "while an event file is written",
    "array": "while an array is written",
    "checksums": "while checksums are written",
    "completion": "before a checkpoint is complete",
    "deletion": "while an old checkpoint is deleted",
    "best": "while the best weights are written",
    "lock": "while the lock is written",
    **{place: NAMES[place] for place in ("step", "evaluation", "sigterm", "time")},
}


class Kill(NamedTuple):
    """The intended place of a kill."""

    place: str
    aim: float  # the number of the call or event, or seconds
    process: int


def draw(
    seed: int,
    number: int,
    seconds: float,
    processes: int = 1,
    requests: Mapping[str, int] | None = None,
) -> Kill:
    """Return the kill of a number, in one of several processes.

    `requests` are, for a run in a bucket, the requests of a whole run by place.
    """
    rng = random.Random(f"{seed} {number}")
    names = NAMES if requests is None else NAMES_IN_BUCKET
    places = [place for place in names if processes == 1 or place not in SIGNAL_PLACES]
    place = places[number % len(places)]  # each equally often, time last
    last = {"temporary": SAVES, "renamed": SAVES, "best": 2, "grown": STEPS + EPOCHS, **BROKEN_AT}
    last |= requests or {}
    aim = round(rng.uniform(0, seconds), 3) if place == "time" else rng.randint(1, last[place])
    return Kill(place, aim, 0 if place in IN_PROCESS_0 else rng.randrange(processes))


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


def kill(
    workdir: Path, cache: Path, chosen: Kill, processes: int, emulator: Emulator | None
) -> list[subprocess.CompletedProcess]:
    """Start a run, and kill a process at a place if it does not kill itself there."""
    place, aim, victim = chosen
    at_request = emulator is not None and place in REQUESTS
    break_at = f"{place},{int(aim)}" if place in BROKEN_AT and not at_request else ""
    started = runs.begin_job(workdir, cache, break_at, processes=processes, victim=victim)
    process = started[victim]
    if emulator is not None and at_request:
        fault = Fault(REQUESTS[place], after=int(aim) - 1, cut=True, call=process.kill)
        with emulator.failing(fault):
            return runs.end(started)
    if break_at:
        return runs.end(started)
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
    return runs.end(started)


def one(
    number: int,
    chosen: Kill,
    whole: Path,
    cache: Path,
    processes: int,
    emulator: Emulator | None,
) -> dict:
    """Kill a run beside the whole run, continue and compare it; return a line of the table."""
    workdir = whole.with_name(f"kill{number}")
    remove(workdir)  # what an interrupted table left
    start = time.monotonic()
    killed = kill(workdir, cache, chosen, processes, emulator)
    logged = runs.last_logged(workdir)
    resumed = runs.end(runs.begin_job(workdir, cache, processes=processes))
    found = [runs.HUNG for process in killed if runs.HUNG in process.stderr]
    found += [f"status {x.returncode}: {x.stderr.strip()[-300:]}" for x in resumed if x.returncode]
    found = found or runs.differences(workdir, whole)
    if not found:
        remove(workdir)
    status = killed[chosen.process].returncode
    return {
        "kill": number,
        "place": (NAMES_IN_BUCKET if emulator else NAMES)[chosen.place],
        "aim": chosen.aim,
        "process": chosen.process,
        "killed": int(status == -signal.SIGKILL or status > 128),
        "identical": int(not found),
        "steps_again": max(0, logged - runs.resumed_at(resumed[0].stdout)),
        "seconds": round(time.monotonic() - start, 1),  # of wall time, both runs
        "differences": "; ".join(found),
    }


def remove(workdir: Path) -> None:
    """Remove the folder of a run, if it exists."""
    if is_in_bucket(workdir):
        for path in files_below(workdir):
            path.unlink()
    else:
        shutil.rmtree(workdir, ignore_errors=True)


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
    parser.add_argument("--processes", type=int, default=1, help="number of processes of a run")
    parser.add_argument("--bucket", action="store_true", help="run in an emulated bucket")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table, kills*.csv")
    parser.add_argument("--work", type=Path, help="folder for the runs; by default a temporary one")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        emulator = None
        if options.bucket:
            emulator = stack.enter_context(emulated_bucket(folder / "objects"))
        lines = _all(options, folder, emulator)
    table(lines)
    seconds = sum(float(line["seconds"]) for line in lines)
    cores = os.cpu_count()
    print(f"{seconds:.0f} s for {len(lines)} runs, each killed and continued; {cores} cores")
    return int(any(not int(line["identical"]) for line in lines))


def _all(options: argparse.Namespace, folder: Path, emulator: Emulator | None) -> list[dict]:
    cache, whole, requests = folder / "cache", folder / "whole", None
    if emulator is not None:
        whole = run_path(f"gs://{BUCKET}/kills/whole")
    processes = options.processes
    if emulator or not runs.steps_in(whole) or runs.steps_in(whole)[-1] != STEPS:
        for workdir in (whole.with_name("first"), whole):  # the first one compiles
            if emulator is not None:
                remove(workdir)
                emulator.requests.clear()
            for done in runs.end(runs.begin_job(workdir, cache, processes=processes)):
                if done.returncode:
                    sys.exit(f"the run fails without a kill:\n{done.stdout}{done.stderr}")
        if emulator is not None:
            requests = {place: emulator.count(pattern) for place, pattern in REQUESTS.items()}
        if found := runs.differences(whole, whole.with_name("first")):
            sys.exit(f"two runs that nobody kills differ in {found}")
    begun, ended = (_written(whole / name) for name in (CONFIG_FILE, METRICS_FILE))
    name = "kills_bucket" if options.bucket else "kills"
    name += "" if processes == 1 else f"_{processes}_processes"
    path = options.out / f"{name}.csv"
    lines = list(csv.DictReader(path.open(newline=""))) if path.exists() else []
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=options.kills, completed=len(lines))
        for number in range(len(lines), options.kills):
            chosen = draw(options.seed, number, ended - begun, processes, requests)
            progress.update(bar, description=chosen.place)
            lines.append(one(number, chosen, whole, cache, processes, emulator))
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(lines)
            progress.advance(bar)
    return lines


def _written(path: Path) -> float:
    """Return the time at which a file or an object was written, in seconds."""
    status: Any = path.stat()
    return status.mtime if is_in_bucket(path) else status.st_mtime


if __name__ == "__main__":
    sys.exit(main())
