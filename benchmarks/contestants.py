"""Starts the programs that are compared, and asks them alternately.

A contestant is a program in its own Python process. Its first line of JSON on standard output
describes it. It then answers every line of JSON on its standard input with one line. This module
needs only the standard library, because peers run in other Python environments.
"""

import contextlib
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# The environment of all contestants. Large pages make every allocator of large arrays faster. No
# framework may reserve the whole memory of a GPU.
ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "KERAS_BACKEND": "jax",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}


class ContestantError(RuntimeError):
    """A contestant ended, or answered with an error."""


class Process:
    """The process of one contestant.

    Attributes:
      name: The name in tables.
      description: The first answer.
    """

    def __init__(self, name: str, command: Sequence[str], cache: str | None = None):
        """Start the process and wait for its first answer.

        Args:
          name: The name in tables.
          command: The command to run.
          cache: Folder in which JAX keeps compiled programs; None for no such folder.

        Raises:
          ContestantError: The process ended, or answered with an error.
        """
        environment = {**os.environ, **ENVIRONMENT}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        if cache:
            environment["JAX_COMPILATION_CACHE_DIR"] = cache
            environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        self.name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        self.description = self._answer()

    def ask(self, question: Any) -> dict[str, Any]:
        """Return the answer to a question; raise the same error as the constructor."""
        with contextlib.suppress(BrokenPipeError):  # no answer will come, which is the error
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise ContestantError(f"{self.name} ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            self.close()
            raise ContestantError(f"{self.name}: {answer['error']}")
        return answer


@contextlib.contextmanager
def running(
    commands: Iterable[tuple[str, Sequence[str]]], cache: str | None = None
) -> Iterator[list[Process]]:
    """Start the named commands one after the other, because compilation uses all cores."""
    with contextlib.ExitStack() as stack:
        processes = []
        for name, command in commands:
            processes.append(Process(name, command, cache))
            stack.callback(processes[-1].close)
        yield processes


def take_turns(processes: Sequence[Process], question: Any, repeats: int) -> list[list[dict]]:
    """Ask all processes one after the other, `repeats` times; return the answers of each.

    The order is another one in each repetition, because what ran before affects a process: through
    the caches, and through the memory that it has freed.
    """
    answers: list[list[dict]] = [[] for _ in processes]
    for repetition in range(repeats):
        for index in random.Random(repetition).sample(range(len(processes)), len(processes)):
            answers[index].append(processes[index].ask(question))
    return answers


def race(
    commands: Sequence[tuple[str, Sequence[str]]],
    question: Any,
    repeats: int,
    check: Callable[[Sequence[Process]], None] = lambda processes: None,
) -> tuple[list[Process], list[list[dict]]]:
    """Start the named commands and ask them in turns, twice: the second time in reverse order.

    On a virtual machine, the process that starts first runs up to a fifth slower than the same
    program that starts last, as long as both live. In the two halves of the repetitions, a process
    that started before another starts after it. In the second half, JAX takes its programs from a
    folder of compiled programs.

    Args:
      commands: Names and commands.
      question: The question of `take_turns`.
      repeats: Repetitions of both halves together.
      check: Is called with the processes of each half; may raise an error.

    Returns:
      The processes of the first half, which have ended, and the answers of each command.
    """
    halves, ended = [], []
    with tempfile.TemporaryDirectory() as cache:
        for order, share in ((1, -(-repeats // 2)), (-1, repeats // 2)):
            if share:
                with running(commands[::order], cache) as processes:
                    check(processes[::order])
                    halves.append(take_turns(processes, question, share)[::order])
                ended.append(processes[::order])
    return ended[0], [[*itertools.chain(*mine)] for mine in zip(*halves, strict=True)]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median, smallest and largest."""
    return statistics.median(values), min(values), max(values)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Return the spread of the quotients; each is taken within a repetition."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def compare(
    rates: Sequence[Sequence[float]], name: str = "images_per_second"
) -> list[dict[str, float]]:
    """Return columns of a table for each contestant; the first contestant is netzoo.

    Args:
      rates: The rate of every contestant in each repetition.
      name: Name of the column of medians.
    """
    columns = (name, "slowest", "fastest")
    ratios = ("netzoo_ratio", "netzoo_ratio_low", "netzoo_ratio_high")
    return [
        dict(zip((*columns, *ratios), (*spread(mine), *ratio(rates[0], mine)), strict=True))
        for mine in rates
    ]


def find_python(peer: str, modules: Sequence[str], candidates: Iterable[str]) -> str | None:
    """Return the first interpreter that has the modules of a peer; print a line if none has."""
    code = "import sys, importlib.util as u; sys.exit(None in map(u.find_spec, sys.argv[1:]))"
    candidates = list(dict.fromkeys(candidates))
    for python in candidates:
        with contextlib.suppress(OSError):
            if subprocess.run([python, "-c", code, *modules], cwd=ROOT).returncode == 0:
                return python
    print(
        f"{peer} is left out: {' and '.join(candidates)} cannot import {', '.join(modules)}; "
        "--peer-python names an interpreter that can"
    )
    return None


def serve(description: dict[str, Any], answer: Callable[[Any], dict[str, Any]] = dict) -> None:
    """Run as a contestant: print the description, then answer until standard input ends."""
    print(json.dumps(description), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def serve_steps(
    description: dict[str, Any],
    step: Callable[[Any], tuple[Any, Any]],
    state: Any,
    wait: Callable[[Any], Any],
    peak_bytes: Callable[[], int],
) -> None:
    """Run as a contestant that runs the requested number of steps.

    Its answers are the `seconds` of these steps, the `core_seconds` of all threads in them, and the
    `peak_bytes` so far. One step before them is not timed: a virtual machine returns free memory to
    its host while other contestants run, and the first step waits for this memory and takes up to
    three times as long.

    Args:
      description: The first answer; the `losses` of two steps are added.
      step: `step(state) -> (state, loss)`; it may return before the values are computed.
      state: The first state.
      wait: Waits for a state.
      peak_bytes: Returns the peak memory so far.
    """
    losses = []
    for _ in range(2):
        state, loss = step(state)
        losses.append(float(loss))

    def answer(steps: int) -> dict[str, float]:
        nonlocal state
        state, _ = step(state)
        wait(state)
        start, core = time.perf_counter(), time.process_time()
        for _ in range(steps):
            state, _ = step(state)
        wait(state)
        return {
            "seconds": time.perf_counter() - start,
            "core_seconds": time.process_time() - core,
            "peak_bytes": peak_bytes(),
        }

    serve({**description, "losses": losses}, answer)


def peak_host_bytes() -> int:
    """Return the peak memory of this process, including compilation."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_jax_bytes() -> int:
    """Return the peak memory of JAX's device, or of this process if the device is the CPU."""
    import jax

    statistics = jax.devices()[0].memory_stats()
    return statistics["peak_bytes_in_use"] if statistics else peak_host_bytes()
