"""The command `netzoo`, also `python -m netzoo.cli`: one subcommand for each module below.

A module has `main(arguments)`, which returns the exit status or None, and raises `UserError` for
what the user can mend. It is imported when it is called: most load JAX, which takes seconds.
"""

import importlib
import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import TextIO

from netzoo.errors import UserError, unknown_name

COMMANDS = {
    "train": ("netzoo.cli.train", "train a network, or continue a run"),
    "eval": ("netzoo.cli.eval", "evaluate a run on its test split, or another"),
    "predict": ("netzoo.cli.predict", "classify images or translate sentences with a run"),
    "models": ("netzoo.cli.models", "list the networks, or show one stage by stage"),
    "prepare": ("netzoo.cli.prepare", "prepare a data set of TFDS"),
    "check": ("netzoo.cli.check", "decode every image of a data set, and name the corrupt ones"),
    "contact_sheet": ("netzoo.cli.contact_sheet", "draw examples of every class of a data set"),
    "record": ("netzoo.cli.record", "keep the results of a finished run, or list those kept"),
    "keys": ("netzoo.cli.keys", "list the keys of a configuration, and what each means"),
    "plan": ("netzoo.cli.plan.command", "estimate what a run needs on devices that you lack"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns the exit status, 1 with a message for what the user can mend."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        try:
            return _run(name, rest)
        finally:
            if sys.stdout:  # None where a shell has closed it
                sys.stdout.flush()  # now, where an error can be handled
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and sys.stdout and _is_unread(sys.stdout):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        print(f"error: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1


def _run(name: str, arguments: Sequence[str]) -> int:
    if name in ("-h", "--help"):
        print("usage: netzoo COMMAND ...; netzoo COMMAND --help says more\n")
        print("\n".join(f"  {command:<14} {text}" for command, (_, text) in COMMANDS.items()))
        return 0
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    return importlib.import_module(COMMANDS[name][0]).main(arguments) or 0


def _is_unread(stream: TextIO) -> bool:
    """Returns whether a stream is a pipe whose reader is gone: `head` leaves when it has enough."""
    poll = select.poll()
    poll.register(stream, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))
