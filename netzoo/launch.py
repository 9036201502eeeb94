"""Sets the process up before JAX is imported, and turns errors that users can mend into messages.

Entry points end with `launch.run(main)` or, where the configuration comes from the run folder,
`launch.run(main, config_from_workdir=True)`.
"""

import inspect
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging

from netzoo.errors import UserError

HUGE_PAGES_SWITCH = "NETZOO_HUGE_PAGES"
CACHE_VARIABLE = "NETZOO_CACHE"


def run(main: Callable[..., int | None], *, config_from_workdir: bool = False) -> None:
    """Parses the flags, calls `main` with the arguments beside them, and exits with its status.

    Raises:
      SystemExit: Always. Status 1 with a message for what the user can mend.
    """
    _use_huge_pages()
    parse = _parse_with_saved_config if config_from_workdir else _parse

    def guarded(argv: Sequence[str]) -> int | None:
        takes = len(inspect.signature(main).parameters)
        if len(argv) > 1 and not takes:
            raise UserError(f"{' '.join(argv[1:])}: expected only --flags; --help lists them")
        logging.set_verbosity(logging.WARNING)
        _use_compilation_cache()
        return main(*argv[1:])

    try:
        app.run(guarded, flags_parser=parse)
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


def _use_compilation_cache() -> None:
    """Keeps compiled programs between processes, in `$NETZOO_CACHE` or the user's cache folder."""
    import jax

    root = os.environ.get(CACHE_VARIABLE) or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "netzoo"
    )
    jax.config.update("jax_compilation_cache_dir", os.path.join(root, "xla"))


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(f"{error}\n--help lists the flags") from None
    except (KeyError, AttributeError, TypeError) as error:
        # What ml_collections raises for keys and types that are not in the configuration.
        text = str(error.args[0]).strip("'\"").replace("\\n", " ").replace("\\'", "'")
        raise UserError(f"configuration: {text}") from None


def _parse_with_saved_config(argv: Sequence[str]) -> list[str]:
    from ml_collections import config_flags

    from netzoo.config import load_config

    if any(argument in ("--help", "-h", "-help") for argument in argv):
        return app.parse_flags_with_usage(argv)
    try:
        flags.FLAGS(argv, known_only=True)
    except flags.Error as error:
        raise UserError(f"{error}\n--help lists the flags") from None
    config_flags.DEFINE_config_dict("config", load_config(Path(flags.FLAGS.workdir)))
    return _parse(argv)
