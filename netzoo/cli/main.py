"""The command `netzoo`, also `python -m netzoo`, with a subcommand for each module below.

A module has a function `main(arguments)`, which returns the exit status or None and raises a
`UserError` for errors that the user can fix. Modules are imported on demand, because most import
JAX, which takes seconds.
"""

import contextlib
import importlib
import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from netzoo.buckets import uncaught_reason
from netzoo.cli import libtpu
from netzoo.console import say
from netzoo.errors import UserError, is_out_of_memory, note, unknown_name

COMMANDS = {
    "train": ("netzoo.cli.train", "train a network, or continue a run"),
    "eval": ("netzoo.cli.eval", "evaluate a run on its test split, or another"),
    "predict": ("netzoo.cli.predict", "classify images or translate sentences"),
    "export": ("netzoo.cli.export", "export a network to a file that runs without netzoo"),
    "demo": ("netzoo.cli.demo", "open a page in the browser to try runs"),
    "serve": ("netzoo.cli.serve", "serve a network over HTTP"),
    "inspect": ("netzoo.cli.inspect", "draw where a network looks and what its layers compute"),
    "probe": ("netzoo.cli.probe", "score the features of weights: linear probe and neighbours"),
    "lesson": ("netzoo.cli.lesson", "show what a network taught, with numbers and pictures"),
    "models": ("netzoo.cli.models", "list the networks, or show the stages of one"),
    "prepare": ("netzoo.cli.prepare", "prepare a data set of TFDS"),
    "check": (
        "netzoo.cli.check",
        "count the images of a data set, and list corrupt ones and duplicates",
    ),
    "contact_sheet": (
        "netzoo.cli.contact_sheet",
        "draw examples of every class, or the training images of a run",
    ),
    "record": ("netzoo.cli.record", "record the results of a finished run, or list records"),
    "leaderboard": ("netzoo.cli.leaderboard", "build the leaderboard from records"),
    "keys": ("netzoo.cli.keys", "list the configuration keys with their meanings"),
    "lr-find": ("netzoo.cli.lr_find", "suggest a learning rate, by a short run that raises it"),
    "sweep": (
        "netzoo.cli.sweep.command",
        "train many runs that differ in some keys, and compare them",
    ),
    "plan": ("netzoo.cli.plan.command", "estimate a run on any number of devices"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit status, 1 after an error that the user can fix."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    libtpu.keep_quiet()
    try:
        with _buffered_output():
            return _run(name, rest)
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and sys.stdout and _is_unread(sys.stdout):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        note("\n".join((f"error: {error}", *getattr(error, "__notes__", ()))))
        return 1
    except KeyboardInterrupt:
        note("interrupted")
        return 128 + signal.SIGINT
    except Exception as error:
        if why := uncaught_reason(error):
            note(f"error: the bucket: {why}")
            return 1
        if not is_out_of_memory(error):
            raise
        note(
            f"error: the memory is full: {str(error).strip() or 'an array does not fit'}\nUse a "
            "smaller batch (train.batch_size, evaluation.batch_size) or smaller examples"
        )
        return 1


def _run(name: str, arguments: Sequence[str]) -> int:
    if name in ("-h", "--help"):
        say("usage: netzoo COMMAND ...; netzoo COMMAND --help prints more\n")
        say("\n".join(f"  {command:<14} {text}" for command, (_, text) in COMMANDS.items()))
        return 0
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    return importlib.import_module(COMMANDS[name][0]).main(arguments) or 0


@contextlib.contextmanager
def _buffered_output() -> Iterator[None]:
    """Give a command its own buffer for standard output, and write all of it at the end.

    An unbuffered stream (PYTHONUNBUFFERED=1) drops the rest of a text without an error when the
    disk becomes full. Python's own buffer would be written again when Python ends.
    """
    stream: Any = sys.stdout
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError):  # closed by a shell, or not a file
        yield
        return
    options = {"encoding": stream.encoding, "errors": stream.errors}
    sys.stdout = open(descriptor, "w", closefd=False, **options)  # noqa: SIM115
    try:
        yield
    finally:
        output, sys.stdout = sys.stdout, stream
        output.flush()  # here, where an error can be handled


def _is_unread(stream: TextIO) -> bool:
    """Return whether a stream is a pipe whose reader, such as `head`, has ended."""
    poll = select.poll()
    poll.register(stream, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))
