"""The cache folder for downloaded weights and compiled programs."""

import os
from pathlib import Path

CACHE_VARIABLE = "NETZOO_CACHE"


def cache_folder() -> Path:
    """Return `$NETZOO_CACHE`, or `netzoo` in the user's cache folder (`~/.cache`)."""
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get(CACHE_VARIABLE) or Path(user, "netzoo"))
