"""Errors that the user can fix, notices, and text that is safe to print."""

import contextlib
import difflib
import functools
import sys
import unicodedata
from collections.abc import Iterable, Iterator

# Emoji and the scripts of e.g. Persian and Hindi need them.
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


class UserError(ValueError):
    """The configuration, the data, the weights or the machine is not as expected.

    The message states what was expected, what was found and what to do. Entry points print it
    without a traceback.
    """


def unknown_name(kind: str, found: str, valid: Iterable[str]) -> UserError:
    """Return the error for a name that is not in `valid`, with the nearest valid names."""
    valid = list(valid)
    near = _nearest(found, valid)
    hint = f"did you mean {' or '.join(near)}?" if near else f"valid: {', '.join(valid)}"
    return UserError(f"unknown {kind} {found!r}; {hint}")


def note(text: str) -> None:
    """Print a notice on standard error, separate from results."""
    if sys.stderr:  # None where a shell has closed it; `print` would use standard output
        print(printable(text, keep="\n"), file=sys.stderr, flush=True)


@functools.cache
def note_once(text: str) -> None:
    """Print a notice on standard error unless this process has printed it."""
    note(text)


@contextlib.contextmanager
def noting(note: str) -> Iterator[None]:
    """Add a note to errors raised in the `with` block."""
    try:
        yield
    except Exception as error:
        error.add_note(note)
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Return whether Python, NumPy or XLA could not allocate memory."""
    # The text identifies JAX's error: this module does not import JAX, and the type has several
    # names.
    return isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED")


def printable(text: str, keep: str = "") -> str:
    """Escape the characters of a text that could control a terminal or change the reading order.

    These are control characters, bidirectional controls and other invisible characters, except
    spaces and joiners of letters. The characters of `keep`, e.g. line ends, are not escaped.
    """
    if text.isprintable():
        return text
    return "".join(
        c if _is_shown(c) or c in keep else c.encode("unicode_escape").decode() for c in text
    )


def _is_shown(character: str) -> bool:
    if character.isprintable() or character in _JOINERS:
        return True
    return unicodedata.category(character) == "Zs"


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return ` Did you mean ...?` with the valid names closest to `name`, or ""."""
    near = _nearest(name, valid)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _nearest(name: str, valid: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(valid), n=3, cutoff=0.5)
