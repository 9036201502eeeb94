"""Sets up the process of a command before importing JAX, and reads the command's configuration.

A command that uses a configuration creates its parser with `parser` and ends by calling `run`.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence

from absl import logging
from ml_collections import ConfigDict

from netzoo.cli import join
from netzoo.cli.arguments import Parser
from netzoo.cli.compile_cache import use_compile_cache
from netzoo.config import load_config
from netzoo.config.overrides import override, read_config, split_overrides
from netzoo.errors import UserError

HUGE_PAGES_SWITCH = "NETZOO_HUGE_PAGES"


_KEYS = "--config.KEY=VALUE overrides a key of the run's configuration; `netzoo keys` lists them."


def parser(
    command: str,
    description: str | None,
    *,
    epilog: str | None = _KEYS,
    needs_workdir: bool = True,
    workdir: str = "folder of the run, on this machine or in a bucket: gs://BUCKET/RUN",
) -> argparse.ArgumentParser:
    """Return the parser of `netzoo COMMAND`, with the option --workdir.

    Args:
      command: The word after `netzoo`.
      description: First text of `--help`, usually the docstring of the command's module.
      epilog: Last text of `--help`.
      needs_workdir: Whether --workdir is required.
      workdir: Help for --workdir.
    """
    new = Parser(
        prog=f"netzoo {command}", description=description, epilog=epilog, allow_abbrev=False
    )
    new.add_argument("--workdir", required=needs_workdir, help=workdir)
    return new


def refuse_overrides(options: argparse.Namespace) -> None:
    """Refuse options that change the configuration of a run if the command has no run.

    Raises:
      UserError: There are such options.
    """
    if options.overridden:
        raise UserError("--config.KEY changes the configuration of a run, not of --weights")


def run(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str],
    main: Callable[[ConfigDict, argparse.Namespace], int | None],
    *,
    many_processes: bool = False,
    read: Callable[[argparse.Namespace], ConfigDict] | None = None,
) -> int | None:
    """Parse the arguments, set up the process and return the result of `main`.

    `main` gets the configuration and the parsed options. The configuration comes from the file
    `--config`, or else from the run in `--workdir`. `--config.KEY=VALUE` overrides a key.

    Args:
      parser: Result of `parser`, with the options of the command.
      arguments: The arguments after the command.
      main: Does the work.
      many_processes: Whether several processes may share the work.
      read: Returns the configuration if `--config` is missing; None reads that of the run in
        `--workdir`.

    Raises:
      UserError: The configuration is invalid, or `main` raises it.
    """
    if many_processes:
        join.add_options(parser)
    typed, options_of_config = split_overrides(arguments)
    options = parser.parse_intermixed_args(typed)
    _use_huge_pages(arguments)
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None if the shell closed it
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    file = getattr(options, "config", None)
    otherwise = read or (lambda options: load_config(options.workdir))
    config = read_config(file) if file else otherwise(options)
    override(config, options_of_config)
    options.overridden = tuple(options_of_config)
    logging.set_verbosity(logging.WARNING)
    use_compile_cache()
    if many_processes:
        join.join(options)
        from netzoo.processes import telling_others

        with telling_others():
            return main(config, options)
    return main(config, options)


def _use_huge_pages(arguments: Sequence[str]) -> None:
    """Restart the process once, with an allocator that uses huge pages.

    A process that was not started with these arguments, such as a notebook with `%run train.py`,
    does more than this command. It is not restarted.

    XLA's CPU backend allocates and frees tens of megabytes per step. With 4 KiB pages, a third of a
    training step is page faults (see docs/training.md). glibc reads the setting from the
    environment when the process starts. `NETZOO_HUGE_PAGES=0` turns this off.
    """
    setting = "glibc.malloc.hugetlb=1"
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    off = os.environ.get(HUGE_PAGES_SWITCH) == "0"
    off |= sys.orig_argv[-len(arguments) :] != list(arguments)
    if off or platform.libc_ver()[0] != "glibc" or "glibc.malloc.hugetlb" in tunables:
        return
    joined = f"{tunables}:{setting}" if tunables else setting
    os.execve(sys.executable, sys.orig_argv, {**os.environ, "GLIBC_TUNABLES": joined})
