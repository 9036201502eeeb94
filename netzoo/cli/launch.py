"""Sets the process of a command up before JAX is imported, and reads its configuration.

A command that works on a configuration makes its parser with `parser` and ends with `run`.
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
from netzoo.config import load_config
from netzoo.config.overrides import override, read_config, split_overrides
from netzoo.errors import UserError

HUGE_PAGES_SWITCH = "NETZOO_HUGE_PAGES"

# JAX's own is 100. Heartbeats come from a thread of C++, which goes on while Python, a compilation
# or a checkpoint keeps the process busy; a process that is silent for so long is dead or cut off.
HEARTBEAT_TIMEOUT_SECONDS = 30
# How long a process that has finished, or failed, waits for the others; JAX's own is 300.
SHUTDOWN_TIMEOUT_SECONDS = 60


_KEYS = "--config.KEY=VALUE overrides a key of the run's configuration; `netzoo keys` lists them."


def parser(
    command: str,
    description: str | None,
    *,
    epilog: str | None = _KEYS,
    needs_workdir: bool = True,
) -> argparse.ArgumentParser:
    """Returns the parser of `netzoo COMMAND`, which has the option --workdir.

    Args:
      command: The word after `netzoo`.
      description: What `--help` says first, usually the docstring of the command's module.
      epilog: What `--help` says last.
      needs_workdir: Whether --workdir has to be given.
    """
    new = argparse.ArgumentParser(
        prog=f"netzoo {command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
    """Parses the arguments, sets the process up and returns what `main` returns.

    `main` gets the configuration and the parsed options. The configuration comes from the file that
    the option `--config` names, or else from the run in `--workdir`. `--config.KEY=VALUE` overrides
    it.

    Args:
      parser: From `parser`, with the options of the command.
      arguments: What was typed after the command.
      main: Does the work.
      many_processes: Whether several processes can share the work.

    Raises:
      UserError: The configuration is wrong, or `main` raised the error.
    """
    if many_processes:
        _add_process_options(parser)
    typed, options_of_config = split_overrides(arguments)
    options = parser.parse_intermixed_args(typed)
    _use_huge_pages()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where a shell has closed it
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    file = getattr(options, "config", None)
    config = read_config(file) if file else load_config(options.workdir)
    override(config, options_of_config)
    options.overridden = tuple(options_of_config)
    logging.set_verbosity(logging.WARNING)
    import jax

    # Compiled programs are kept between processes.
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    if many_processes:
        _join_processes(options)
    return main(config, options)


def _use_huge_pages() -> None:
    """Starts the process again, once, with an allocator that uses large pages.

    XLA's CPU backend allocates and frees tens of megabytes a step. With 4 KiB pages a third of a
    training step goes into page faults (docs/training.md has the figures). glibc reads the
    setting when the process starts, so it has to be in the environment by then.
    `NETZOO_HUGE_PAGES=0` turns this off.
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
        help="one of several processes that Cloud TPU, Slurm or Kubernetes number",
    )
    group.add_argument("--coordinator", help="HOST:PORT of process 0, without --distributed")
    group.add_argument("--processes", type=int, help="with --coordinator: number of processes")
    group.add_argument("--process", type=int, help="with --coordinator: this one's number, from 0")


def _join_processes(options: argparse.Namespace) -> None:
    """Meets the other processes of the job; devices may be touched only after that.

    Raises:
      UserError: The options do not belong together, or nothing says which process this is.
    """
    names = ("coordinator", "processes", "process")
    coordinator, count, index = given = [getattr(options, name) for name in names]
    missing = [f"--{name}" for name, value in zip(names, given, strict=True) if value is None]
    if 0 < len(missing) < len(names):
        raise UserError(
            f"{' and '.join(missing)} missing; give all of --coordinator HOST:PORT --processes N "
            "--process I, or --distributed alone"
        )
    if not missing and not (0 <= index < count and re.fullmatch(r".+:\d+", coordinator)):
        raise UserError(
            f"--coordinator {coordinator} --processes {count} --process {index}; expected "
            "HOST:PORT of process 0, and a process below the number of processes"
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
            f"this process found no others: {error}\nOutside Cloud TPU, Slurm and Kubernetes give "
            "--coordinator HOST:PORT --processes N --process I"
        ) from None
    _explain_abort()
    if jax.process_index():
        # All of them print the same, and one is enough; errors are not silenced.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain_abort() -> None:
    """Starts a shell that prints what happened if this process ends without its own message.

    When another process dies, XLA aborts this one from a C++ thread, and Python runs no more. The
    shell waits for a line from a pipe, and the pipe closes with this process, however it ends.
    """
    import jax

    message = (
        "error: this process broke off, most likely because another process of the job died; XLA "
        "may have said above which. The same command on all machines continues from the newest "
        "checkpoint."
    )
    shell = subprocess.Popen(
        ["sh", "-c", 'read -r line || echo "$0" >&2', message],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # a terminal's Ctrl-C is for the training
    )

    def dismiss():
        jax.distributed.shutdown()  # waits for the others, and aborts here if one of them is gone
        if not hasattr(sys, "last_value"):  # set by an uncaught exception
            shell.communicate(b"\n")

    atexit.register(dismiss)
