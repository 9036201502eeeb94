"""Everything except SIGKILL that can go wrong with a run, and what is then lost.

python -m reliability.faults --out results/reliability

The same command again continues after the faults that the CSV file already has.
"""

import argparse
import collections
import csv
import functools
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks.report import print_table
from reliability import damage, runs
from reliability.bench import Bench, Try
from reliability.config import SIGNALS

SKIPPED = "not tried: "
COLUMNS = ("fault", "tried", "survived", "lost")


def stopped(bench: Bench, number: signal.Signals) -> Iterator[Try]:
    """A user, a closed terminal or a job scheduler asks the run to end."""
    for step in (1, 8, 16):
        workdir = bench.folder(number.name)
        done = runs.finish(workdir, bench.cache, f"{number.name.lower()},{step}")
        said = f"stopped by {number.name} after saving a checkpoint." in done.stdout
        saved = runs.steps_in(workdir)[-1:] == [runs.last_logged(workdir)]
        yield bench.resumed(workdir, done.returncode == 128 + number and said and saved, done)


def second_signal(bench: Bench) -> Iterator[Try]:
    """A user sends a second signal because the first takes too long."""
    workdir = bench.folder("twice")
    done = runs.finish(workdir, bench.cache, "sigterm_twice,17")
    yield bench.resumed(workdir, done.returncode == 143 and "saved" not in done.stdout, done)


def full_disk(bench: Bench) -> Iterator[Try]:
    """The disk is full while a checkpoint or the metrics are written."""
    for left in (600_000, 100_000, 0):
        with bench.small_disk() as disk:
            workdir = bench.copy_of_stopped(disk / "run")
            kept = runs.steps_in(workdir)
            filled = damage.fill(disk, left)
            done = runs.finish(workdir, bench.cache)
            # TensorStore may print its own tracebacks before the error.
            last = (done.stderr.strip().splitlines() or [""])[-1]
            right = done.returncode == 1 and last.startswith("error: ") and "full" in last
            right = right and set(kept[-1:]) <= set(runs.steps_in(workdir))
            filled.unlink()
            yield bench.resumed(workdir, right, done)


def read_only(bench: Bench) -> Iterator[Try]:
    """Nothing can be written in the run folder."""
    with bench.small_disk() as disk:
        workdir = bench.copy_of_stopped(disk / "run")
        with bench.read_only(disk):
            done = runs.finish(workdir, bench.cache)
        right = done.returncode == 1 and "Read-only" in done.stderr and _one_line(done.stderr)
        yield bench.resumed(workdir, right, done)


def truncated(bench: Bench) -> Iterator[Try]:
    """A file of the newest checkpoint is cut in half."""
    for chosen in damage.FILES:
        yield from _damaged(bench, chosen, damage.cut)


def flipped(bench: Bench) -> Iterator[Try]:
    """A bit of a file of the newest checkpoint has changed."""
    for chosen in damage.FILES:
        yield from _damaged(bench, chosen, damage.flip)


def missing_folder(bench: Bench) -> Iterator[Try]:
    """A folder of the newest checkpoint is gone."""
    for chosen in ("state", "data", "state/ocdbt.process_0/d"):
        yield from _damaged(bench, chosen, lambda path, number: shutil.rmtree(path))


def missing_step(bench: Bench) -> Iterator[Try]:
    """The whole newest checkpoint is gone."""
    workdir = bench.copy_of_stopped()
    shutil.rmtree(workdir / "checkpoints" / str(runs.steps_in(workdir)[-1]))
    yield bench.resumed(workdir)


def _damaged(bench: Bench, chosen: str, how: Callable[[Path, int], None]) -> Iterator[Try]:
    workdir = bench.copy_of_stopped()
    newest = workdir / "checkpoints" / str(runs.steps_in(workdir)[-1])
    path = damage.largest(newest, chosen)
    how(path, 0)
    yield bench.resumed(workdir, says=f"checkpoint damaged, left out: {newest}")


def flips_read(bench: Bench) -> Iterator[Try]:
    """A bit of the array data has changed; only reading is tested, 50 times."""
    yield from damage.read_after_flips(bench.copy_of_stopped(), 50)


def damaged_best(bench: Bench) -> Iterator[Try]:
    """The best weights are damaged: they are lost, but the run continues."""
    for chosen in ("state/ocdbt.process_0/d/*", "metrics/metrics"):
        workdir = bench.copy_of_stopped()
        best = workdir / "best" / str(runs.steps_in(workdir, "best")[-1])
        damage.flip(damage.largest(best, chosen), 0)
        done = runs.finish(workdir, bench.cache)
        named = f"checkpoint damaged, left out: {best}" in done.stderr
        found = [x for x in runs.differences(workdir, bench.whole) if not x.startswith("best")]
        right = done.returncode == 0 and named and not found
        yield Try(right, "the best weights; the next evaluation selects new ones", str(found))


def never_completed(bench: Bench) -> Iterator[Try]:
    """A checkpoint cannot be completed; the earlier ones must still exist."""
    for number in (7, 8, 9):
        workdir = bench.folder("never")
        done = runs.finish(workdir, bench.cache, f"fail_to_rename,{number}")
        kept = len(runs.steps_in(workdir))
        right = done.returncode == 1 and "no checkpoint can be written" in done.stderr
        yield bench.resumed(workdir, right and kept >= 2, done)


def two_runs(bench: Bench) -> Iterator[Try]:
    """The same command is started twice."""
    workdir = bench.folder("two")
    first = runs.begin(workdir, bench.cache)
    _wait_for(workdir / "config.json", first)
    second = runs.finish(workdir, bench.cache)
    named = f"locked: process {first.pid} on {os.uname().nodename}" in second.stderr
    first.communicate()
    right = second.returncode == 1 and named and _one_line(second.stderr)
    found = runs.differences(workdir, bench.whole)
    yield Try(right and first.returncode == 0 and not found, "nothing", f"{found}{second.stderr}")


def stale_lock(bench: Bench) -> Iterator[Try]:
    """The lock names a process that was killed."""
    workdir = bench.folder("stale")
    done = runs.finish(workdir, bench.cache, "step,11")
    yield bench.resumed(workdir, (workdir / "lock").read_text().startswith("process"), done)


def evaluated_meanwhile(bench: Bench) -> Iterator[Try]:
    """eval.py reads a run during training."""
    workdir = bench.folder("eval")
    training = runs.begin(workdir, bench.cache)
    while training.poll() is None and not runs.steps_in(workdir):
        time.sleep(0.05)
    done = runs.finish(workdir, bench.cache, entry="eval.py")
    training.communicate()
    found = runs.differences(workdir, bench.whole)
    yield Try(done.returncode == 0 and not found, "nothing", f"{found}{done.stderr}")


def huge_rate(bench: Bench) -> Iterator[Try]:
    """A learning rate that makes the loss NaN."""
    for rate in ("1e3", "1e30"):
        workdir = bench.folder("huge")
        flags = ("--config.optimizer.name=sgd", f"--config.optimizer.learning_rate={rate}")
        flags += ("--config.checkpoint.every_steps=1", "--config.schedule.warmup_epochs=1")
        done = runs.finish(workdir, bench.cache, "", *flags)
        failed = damage.step_named(done.stderr)
        steps = runs.steps_in(workdir)
        right = done.returncode == 1 and steps and steps[-1] == failed - 1
        yield Try(bool(right and damage.all_finite(workdir)), "that step", done.stderr)


def skipped(bench: Bench) -> Iterator[Try]:
    """Steps are not finite, with train.on_nonfinite=skip: first one step, then all steps."""
    flag = "--config.train.on_nonfinite=skip"
    workdir = bench.folder("skip")
    done = runs.finish(workdir, bench.cache, "nan,15", flag)
    lines = runs.read_metrics(workdir / runs.METRICS_FILE)
    counted = [line["skipped"] for line in lines if line["kind"] == "train"][-1] == 1
    right = done.returncode == 0 and counted and damage.all_finite(workdir)
    yield Try(right, "those steps", done.stderr)
    workdir = bench.folder("skip")
    done = runs.finish(workdir, bench.cache, "nan_always,12", flag)
    right = done.returncode == 1 and "the 10th in a row. Training has stopped" in done.stderr
    right = right and runs.steps_in(workdir) == [10, 12] and damage.all_finite(workdir)
    yield Try(right, "those steps", done.stderr)


def worker(bench: Bench) -> Iterator[Try]:
    """The data thread raises an error in the middle of an epoch."""
    workdir = bench.folder("worker")
    done = runs.finish(workdir, bench.cache, "worker,20")
    right = done.returncode == 1 and "this batch cannot be made" in done.stderr
    yield bench.resumed(workdir, right, done)


def _one_line(text: str) -> bool:
    return "Traceback" not in text and text.strip().count("\n") == 0


def _wait_for(path: Path, process) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.01)


FAULTS: dict[str, Callable[[Bench], Iterator[Try]]] = {
    **{number.name: functools.partial(stopped, number=number) for number in SIGNALS},
    "a second signal": second_signal,
    "full disk": full_disk,
    "read-only run folder": read_only,
    "newest checkpoint: a file cut in half": truncated,
    "newest checkpoint: a flipped bit": flipped,
    "newest checkpoint: a flipped bit of array data (only reading is tested)": flips_read,
    "newest checkpoint: a folder missing": missing_folder,
    "newest checkpoint missing": missing_step,
    "best checkpoint: a flipped bit": damaged_best,
    "a checkpoint cannot be completed": never_completed,
    "two runs in one folder": two_runs,
    "lock of a killed run": stale_lock,
    "eval.py during training": evaluated_meanwhile,
    "learning rate that makes the loss NaN": huge_rate,
    "steps that are not finite, skipped": skipped,
    "a data thread raises": worker,
}


def _line(name: str, bench: Bench) -> dict[str, object]:
    """Try a fault; return its line of the table."""
    try:
        tries = list(FAULTS[name](bench))
    except PermissionError as error:
        return dict(zip(COLUMNS, (name, 0, 0, SKIPPED + str(error)), strict=True))
    for each in tries:
        if not each.survived:
            print(f"{name}: NOT survived: {each.details}", file=sys.stderr)
    lost = "; ".join(collections.Counter(each.lost for each in tries))
    survived = sum(each.survived for each in tries)
    return dict(zip(COLUMNS, (name, len(tries), survived, lost), strict=True))


def main() -> int:
    """Run the command line; return 1 if a fault was not survived."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for faults.csv")
    parser.add_argument("--work", type=Path, help="folder for the runs; by default a temporary one")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "faults.csv"
    lines = list(csv.DictReader(path.open(newline=""))) if path.exists() else []
    names = [name for name in FAULTS if name not in [line["fault"] for line in lines]]
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(options.work or Path(temporary))
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("", total=len(FAULTS), completed=len(lines))
            for name in names:
                progress.update(bar, description=name)
                lines.append(_line(name, bench))
                lines.sort(key=lambda line: list(FAULTS).index(line["fault"]))
                with path.open("w", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS)
                    writer.writeheader()
                    writer.writerows(lines)
                progress.advance(bar)
    print_table("faults", COLUMNS, [[str(line[key]) for key in COLUMNS] for line in lines])
    return int(any(int(line["survived"]) < int(line["tried"]) for line in lines))


if __name__ == "__main__":
    sys.exit(main())
