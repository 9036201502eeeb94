"""Feeds damaged and hostile inputs to all code that reads files and settings.

python -m reliability.fuzz --minutes 5 --out results/reliability [--target decode --target torch]

The seed and the number of an input determine the input, so a failure can be reproduced. A UserError
is right. Any other exception, a signal, more than 10 s for one input, or more memory than the limit
of the target is a failure: its input is kept in OUT/fuzz_failures, and the exit status is 1.
"""

import argparse
import csv
import json
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from mmap import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from netzoo.errors import UserError
from reliability.fuzz_targets import TARGETS, Seeds, Target
from reliability.mutate import mutate

HANG_SECONDS, WARM_UP_SECONDS = 10.0, 60.0
ADDRESS_MB = 16_000  # so that a failure does not exhaust the machine
KEPT = 3  # inputs of each kind of failure
_COUNTERS = struct.Struct("=qqqqd")  # number of the current input, passed, refused, failed; slowest


class Result(NamedTuple):
    """Counts of a target."""

    target: str
    seed: int
    tries: int
    passed: int
    refused: int
    failures: int
    slowest_s: float
    peak_mb: int
    seconds: float


class _Child:
    """The work of one process; its counters are in memory that it shares with its parent."""

    def __init__(self, target: str, seed: int, folder: Path, shared: mmap, failures: Path):
        self._name, self._seed, self._folder = target, seed, folder
        self._target: Target = TARGETS[target]
        self._shared, self._failures = shared, failures

    def run(self, first: int, passed: int, refused: int, failed: int, slowest: float) -> None:
        """Try inputs from `first` on, until the process is killed."""
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_MB << 20, ADDRESS_MB << 20))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        seeds = self._target.seeds(self._folder)
        for name, data in seeds.items():  # loads what is loaded on first use
            self._try(name, data)
        number = first
        while True:
            _COUNTERS.pack_into(self._shared, 0, number, passed, refused, failed, slowest)
            name, data = example(self._name, seeds, self._seed, number)
            before, began = _peak_mb(), time.monotonic()
            error = self._try(name, data)
            slowest = max(slowest, time.monotonic() - began)
            grown = _peak_mb() - before
            if error is None and grown > self._target.growth_mb:
                error = MemoryError(f"took {grown:,} MiB")
            passed += error is None
            refused += isinstance(error, UserError)
            if error is not None and not isinstance(error, UserError):
                failed += 1
                self._keep(number, name, data, error)
            number += 1

    def _try(self, name: str, data: bytes) -> Exception | None:
        try:
            self._target.call(name, data, self._folder)
        except Exception as error:
            return error
        return None

    def _keep(self, number: int, name: str, data: bytes, error: Exception) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}_{frames[-1].lineno}" if frames else "memory"
        keep(self._failures, self._name, f"{type(error).__name__}_{place}", number, name, data)
        path = self._failures / f"{self._name}_{type(error).__name__}_{place}.txt"
        if not path.exists():
            path.write_text("".join(traceback.format_exception(error))[-8000:], errors="replace")


def keep(folder: Path, target: str, kind: str, number: int, name: str, data: bytes) -> None:
    """Write an input that failed into a folder, unless it has enough inputs of this kind."""
    folder.mkdir(parents=True, exist_ok=True)
    if len(list(folder.glob(f"{target}_{kind}_*.input"))) < KEPT:
        (folder / f"{target}_{kind}_{number}_{Path(name).name}.input").write_bytes(data)


def example(target: str, seeds: Seeds, seed: int, number: int) -> tuple[str, bytes]:
    """Return the name and the bytes of an input."""
    stream = list(TARGETS).index(target)
    random = np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, number]))
    name = list(seeds)[random.integers(len(seeds))]
    if TARGETS[target].make:
        return name, TARGETS[target].make(random)
    return name, mutate(seeds[name], list(seeds.values()), random)


def fuzz(target: str, seed: int, seconds: float, failures: Path) -> Result:
    """Try inputs for some time; when a child dies, a new one continues after its last input."""
    shared = mmap(-1, _COUNTERS.size)
    began, peak = time.monotonic(), 0
    counts = (0, 0, 0, 0, 0.0)
    while time.monotonic() - began < seconds:
        _COUNTERS.pack_into(shared, 0, *counts)
        with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
            child = os.fork()
            if child == 0:
                try:
                    _Child(target, seed, Path(folder), shared, failures).run(*counts)
                finally:
                    os._exit(70)
            reason, usage = _watch(child, shared, began + seconds)
        peak = max(peak, usage.ru_maxrss // 1024)
        number, passed, refused, failed, slowest = _COUNTERS.unpack_from(shared)
        if reason:
            with tempfile.TemporaryDirectory(prefix="fuzz_") as folder:
                seeds = {} if target == "run" else TARGETS[target].seeds(Path(folder))
            name, data = example(target, seeds, seed, number) if seeds else ("see_number", b"")
            keep(failures, target, reason, number, name, data)
            number, failed = number + 1, failed + 1
        counts = (number, passed, refused, failed, slowest)
    number, passed, refused, failed, slowest = counts
    tries = passed + refused + failed
    took = time.monotonic() - began
    return Result(target, seed, tries, passed, refused, failed, slowest, peak, took)


def _watch(child: int, shared: mmap, end: float) -> tuple[str, resource.struct_rusage]:
    """Wait until the child dies or hangs, or the time is over; return the reason, or ""."""
    last, since, limit = -1, time.monotonic(), WARM_UP_SECONDS
    while True:
        time.sleep(0.05)
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            died = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            return signal.Signals(died).name if died else f"exit_{os.WEXITSTATUS(status)}", usage
        number, now = _COUNTERS.unpack_from(shared)[0], time.monotonic()
        if number != last:
            limit = WARM_UP_SECONDS if last == -1 else HANG_SECONDS
            last, since = number, now
        hung = now - since > limit
        if hung or now > end:
            os.kill(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            return "hang" if hung else "", usage


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m reliability.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=5.0, help="for all targets together")
    parser.add_argument("--out", type=Path, default=Path("results/reliability"))
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    targets = options.target or list(TARGETS)
    failures = options.out / "fuzz_failures"
    shutil.rmtree(failures, ignore_errors=True)
    options.out.mkdir(parents=True, exist_ok=True)
    results = []
    for target in targets:
        results.append(fuzz(target, options.seed, 60 * options.minutes / len(targets), failures))
        print(json.dumps(results[-1]._asdict()), flush=True)
    path = options.out / "fuzz.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(Result._fields)
        for result in results:
            table.writerow([f"{x:.2f}" if isinstance(x, float) else x for x in result])
    failed = sum(result.failures for result in results)
    tries = sum(result.tries for result in results)
    kept = f", kept in {failures}" if failed else ""
    print(f"{tries:,} inputs, {failed} failures{kept}; {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
