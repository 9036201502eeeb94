"""Sets the process up before JAX is imported, and turns errors that users can mend into messages.

Entry points end with `launch.run(main)`, or with `launch.run(main, many_processes=True)` where
processes can share the work.
"""

import atexit
import inspect
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

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


def run(main: Callable[..., int | None], *, many_processes: bool = False) -> None:
    """Calls `main` with the configuration and the arguments, and exits with its status.

    The configuration comes from the file that the flag `--config` names, or else from the run in
    `--workdir`, and `--config.KEY=VALUE` overrides it.

    Raises:
      SystemExit: Always. Status 1 with a message for what the user can mend.
    """
    _use_huge_pages()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where a shell has closed it
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    if many_processes:
        _define_process_flags()
    typed, overrides = split_overrides(sys.argv)

    def guarded(argv: Sequence[str]) -> int | None:
        takes = len(inspect.signature(main).parameters)
        if len(argv) > 1 and takes == 1:
            raise UserError(f"{' '.join(argv[1:])}: expected only --flags; --help lists them")
        from_file = "config" in flags.FLAGS
        config = read_config(flags.FLAGS.config) if from_file else load_config(flags.FLAGS.workdir)
        override(config, overrides)
        logging.set_verbosity(logging.WARNING)
        import jax

        # Compiled programs are kept between processes.
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
        if many_processes:
            _join_processes()
        return main(config, *argv[1:])

    try:
        app.run(guarded, argv=typed, flags_parser=_parse)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


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


def _define_process_flags() -> None:
    flags.DEFINE_bool(
        "distributed", False, "One of several processes that Cloud TPU, Slurm or Kubernetes number."
    )
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, without --distributed.")
    flags.DEFINE_integer("processes", None, "With --coordinator: number of processes.", 1)
    flags.DEFINE_integer("process", None, "With --coordinator: this one's number, from 0.", 0)


def _join_processes() -> None:
    """Meets the other processes of the job; devices may be touched only after that.

    Raises:
      UserError: The flags do not belong together, or nothing says which process this is.
    """
    given = {name: flags.FLAGS[name].value for name in ("coordinator", "processes", "process")}
    coordinator, count, index = given.values()
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise UserError(
            f"{' and '.join(missing)} missing; give all of --coordinator HOST:PORT --processes N "
            "--process I, or --distributed alone"
        )
    if not missing and not (index < count and re.fullmatch(r".+:\d+", coordinator)):
        raise UserError(
            f"--coordinator {coordinator} --processes {count} --process {index}; expected "
            "HOST:PORT of process 0, and a process below the number of processes"
        )
    if missing and not flags.FLAGS["distributed"].value:
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


def _parse(argv: Sequence[str]) -> list[str]:
    """Returns the arguments beside the flags; with --help, shows flags and keys, and exits."""
    if {"--help", "-help", "-h", "--helpfull"} & {*argv}:
        from netzoo.cli.configs import text

        app.usage(shorthelp=True, writeto_stdout=True)
        print(text())
        sys.exit(0)
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(f"{error}\n--help lists the flags") from None
