"""Sets up the process of a command before importing JAX, and reads its configuration.

A command that uses a configuration creates its parser by `parser` and ends with `run`.
"""

import argparse
import atexit
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence

from absl import logging
from ml_collections import ConfigDict

from netzoo.cache import cache_folder
from netzoo.cli.arguments import Parser
from netzoo.config import load_config
from netzoo.config.overrides import override, read_config, split_overrides
from netzoo.errors import UserError

HUGE_PAGES_SWITCH = "NETZOO_HUGE_PAGES"

# JAX's default is 100. A C++ thread sends heartbeats even while Python, a compilation or a
# checkpoint keeps the process busy, so a process without heartbeats is dead or disconnected.
HEARTBEAT_TIMEOUT_SECONDS = 30
# Seconds that a finished or failed process waits for the others; JAX's default is 300.
SHUTDOWN_TIMEOUT_SECONDS = 60


_KEYS = "--config.KEY=VALUE overrides a key of the run's configuration; `netzoo keys` lists them."


def parser(
    command: str,
    description: str | None,
    *,
    epilog: str | None = _KEYS,
    needs_workdir: bool = True,
) -> argparse.ArgumentParser:
    """Return the parser of `netzoo COMMAND`, with the option --workdir.

    Args:
      command: The word after `netzoo`.
      description: First text of `--help`, usually the docstring of the command's module.
      epilog: Last text of `--help`.
      needs_workdir: Whether --workdir is required.
    """
    new = Parser(
        prog=f"netzoo {command}", description=description, epilog=epilog, allow_abbrev=False
    )
    new.add_argument("--workdir", required=needs_workdir, help="folder of the run")
    return new


def run(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str],
    main: Callable[[ConfigDict, argparse.Namespace], int | None],
    *,
    many_processes: bool = False,
) -> int | None:
    """Parse the arguments, set up the process and return the result of `main`.

    `main` gets the configuration and the parsed options. The configuration comes from the file
    `--config`, or else from the run in `--workdir`. `--config.KEY=VALUE` overrides a key.

    Args:
      parser: Result of `parser`, with the options of the command.
      arguments: The arguments after the command.
      main: Does the work.
      many_processes: Whether several processes may share the work.

    Raises:
      UserError: The configuration is invalid, or `main` raises it.
    """
    if many_processes:
        _add_process_options(parser)
    typed, options_of_config = split_overrides(arguments)
    options = parser.parse_intermixed_args(typed)
    _use_huge_pages()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None if the shell closed it
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    file = getattr(options, "config", None)
    config = read_config(file) if file else load_config(options.workdir)
    override(config, options_of_config)
    options.overridden = tuple(options_of_config)
    logging.set_verbosity(logging.WARNING)
    import jax

    # Cache compiled programs between processes.
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    if many_processes:
        _join_processes(options)
        from netzoo.processes import telling_others

        with telling_others():
            return main(config, options)
    return main(config, options)


def _use_huge_pages() -> None:
    """Restart the process once, with an allocator that uses huge pages.

    XLA's CPU backend allocates and frees tens of megabytes per step. With 4 KiB pages, a third of a
    training step is page faults (see docs/training.md). glibc reads the setting from the
    environment when the process starts. `NETZOO_HUGE_PAGES=0` turns this off.
    """
    setting = "glibc.malloc.hugetlb=1"
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    off = os.environ.get(HUGE_PAGES_SWITCH) == "0"
    if off or platform.libc_ver()[0] != "glibc" or "glibc.malloc.hugetlb" in tunables:
        return
    joined = f"{tunables}:{setting}" if tunables else setting
    os.execve(sys.executable, sys.orig_argv, {**os.environ, "GLIBC_TUNABLES": joined})


def _add_process_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("several processes")
    group.add_argument(
        "--distributed",
        action="store_true",
        help="join the processes that Cloud TPU, Slurm or Kubernetes started",
    )
    group.add_argument("--coordinator", help="HOST:PORT of process 0, instead of --distributed")
    group.add_argument("--processes", type=int, help="with --coordinator: number of processes")
    group.add_argument(
        "--process", type=int, help="with --coordinator: number of this process, from 0"
    )


def _join_processes(options: argparse.Namespace) -> None:
    """Connect to the other processes of the job, before any use of devices.

    Raises:
      UserError: The options are inconsistent, or the number of this process is unknown.
    """
    names = ("coordinator", "processes", "process")
    coordinator, count, index = given = [getattr(options, name) for name in names]
    missing = [f"--{name}" for name, value in zip(names, given, strict=True) if value is None]
    if 0 < len(missing) < len(names):
        raise UserError(
            f"{' and '.join(missing)} missing; pass all of --coordinator HOST:PORT --processes N "
            "--process I, or --distributed alone"
        )
    if not missing and not (0 <= index < count and re.fullmatch(r".+:\d+", coordinator)):
        raise UserError(
            f"--coordinator {coordinator} --processes {count} --process {index}; expected "
            "HOST:PORT of process 0, and --process from 0 to one less than --processes"
        )
    if missing and not options.distributed:
        return
    import jax

    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_TIMEOUT_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"this process found no others: {error}\nOutside Cloud TPU, Slurm and Kubernetes pass "
            "--coordinator HOST:PORT --processes N --process I"
        ) from None
    _explain_abort()
    if jax.process_index():
        # All processes print the same, so only one does; errors are not silenced.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain_abort() -> None:
    """Start a shell that prints a message if this process aborts without one.

    When another process dies, XLA aborts this one from a C++ thread, without running Python. The
    shell waits for a line from a pipe, which closes whenever this process ends.
    """
    import jax

    message = (
        "error: this process was aborted, most likely because another process of the job died; a "
        "message of XLA above may name it. The same command on all machines continues from the "
        "newest checkpoint."
    )
    shell = subprocess.Popen(
        ["sh", "-c", 'read -r line || echo "$0" >&2', message],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal must reach only the training
    )

    def dismiss():
        jax.distributed.shutdown()  # waits for the others, and aborts here if one is missing
        if not hasattr(sys, "last_value"):  # set by an uncaught exception
            shell.communicate(b"\n")

    atexit.register(dismiss)
