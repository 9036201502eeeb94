"""The cache folder for downloaded weights and compiled programs."""

import os
from pathlib import Path

from netzoo.paths import user_path

CACHE_VARIABLE = "NETZOO_CACHE"


def cache_folder() -> Path:
    """Return `$NETZOO_CACHE`, or `netzoo` in the user's cache folder (`~/.cache`)."""
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return user_path(os.environ.get(CACHE_VARIABLE) or Path(user, "netzoo"))
