"""The cache of compiled programs, which XLA loads as machine code without checking them."""

import functools
import glob
import os
import re
import stat
import warnings
from pathlib import Path
from typing import Any

from netzoo.cache import CACHE_VARIABLE, cache_folder
from netzoo.errors import UserError, note

# JAX reads this variable. Whoever sets it decides whom to trust.
JAX_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
# JAX caches programs that compile for at least a second unless this variable says otherwise. The
# program of a prediction takes half a second to compile.
SHORTEST_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
SHORTEST_SECONDS = 0.2
_UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")


def use_compile_cache() -> None:
    """Cache compiled programs between processes, and remove entries that cannot be read.

    Raises:
      UserError: Another user can write into the folder.
    """
    import jax

    config: Any = jax.config
    if not config.jax_compilation_cache_dir:
        config.update("jax_compilation_cache_dir", str(_own_folder(cache_folder() / "xla")))
    if SHORTEST_VARIABLE not in os.environ:
        config.update("jax_persistent_cache_min_compile_time_secs", SHORTEST_SECONDS)
    folder = Path(config.jax_compilation_cache_dir)
    # Without this, every process would warn of the same entry, because JAX overwrites no entry.
    warnings.showwarning = functools.partial(_remove_unreadable, folder, warnings.showwarning)


def _own_folder(folder: Path) -> Path:
    """Return a folder that only this user can open, and create a missing one.

    Raises:
      UserError: Another user owns the folder or could have written into it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    reason = None
    if not stat.S_ISDIR(found.st_mode):
        reason = "it is not a folder"
    elif found.st_uid != os.geteuid():
        reason = f"it belongs to user {found.st_uid}, and this process to user {os.geteuid()}"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        reason = "other users can write into it"
    if reason:
        raise UserError(
            f"{folder} cannot hold compiled programs, which run without a check: {reason}. Remove "
            f"it, or set {CACHE_VARIABLE} or {JAX_VARIABLE} to a folder of your own"
        )
    folder.chmod(0o700)
    return folder


def _remove_unreadable(
    folder: Path, show: Any, message: Warning | str, *where: Any, **options: Any
) -> None:
    """Show a warning; if it is about an unreadable entry, remove the program's entries instead."""
    if found := _UNREADABLE.match(str(message)):
        for entry in folder.glob(f"{glob.escape(found[1])}-*-cache"):
            entry.unlink(missing_ok=True)
        note(f"{found[1]} is compiled again: its entry in {folder} was damaged, and is removed")
    else:
        show(message, *where, **options)
