"""What the licences of weights allow."""

import re

from netzoo.errors import note_once

UNKNOWN_LICENCE = "not stated"  # in the catalogue
_NON_COMMERCIAL = re.compile(r"\bnc\b|non-?commercial", re.IGNORECASE)


def is_free(licence: str | None) -> bool:
    """Return whether a licence is known and allows commercial use."""
    return _is_known(licence) and not _NON_COMMERCIAL.search(licence or "")


def warn_unless_free(name: str, licence: str | None) -> None:
    """Print a note on standard error, once, unless the licence of weights allows any use."""
    if not _is_known(licence):
        note_once(f"{name}: the licence is unknown; ask the authors before you use the weights")
    elif not is_free(licence):
        note_once(f"warning: {name}: the licence {licence} does not allow commercial use")


def _is_known(licence: str | None) -> bool:
    return licence not in (None, UNKNOWN_LICENCE)
