"""`--config.KEY=VALUE`: values may be None, and what is wrong is one line without a traceback."""

import ast
import re
import traceback
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from netzoo.config.validation import TYPES
from netzoo.errors import UserError

_PACKAGE = Path(__file__).parents[1]
# What ml_collections says.
_WRONG_TYPE = re.compile(
    r"\(reference\)\. (.*) is of original type <class '([\w.]+)'> "
    r"and cannot be casted to type <class '(?:[\w.]+\.)?(\w+)'>"
)
_OTHER_KEYS = re.compile(r' and cannot be added since .* fields present: ".*?}"')


class _Parser(flags.ArgumentParser):
    """Reads a value of one type, or None, which `validate` refuses where it may not be."""

    def __init__(self, kind: type, parser: flags.ArgumentParser):
        self._kind, self._parser = kind, parser

    def parse(self, argument):
        if argument is None or argument == "None":
            return None
        try:
            return self._parser.parse(argument)
        except (TypeError, ValueError, SyntaxError):
            raise ValueError(f"expected {TYPES[self._kind]}") from None

    def flag_type(self) -> str:
        return self._kind.__name__


class _TupleParser(flags.ArgumentParser):
    """Reads a tuple or list; that of ml_collections makes a tuple of whatever else it is given."""

    def parse(self, argument):
        value = ast.literal_eval(argument) if isinstance(argument, str) else argument
        if not isinstance(value, tuple | list):
            raise ValueError
        return tuple(value)


def accept_none() -> None:
    """Makes the flags of a configuration take None as well, and say what they expect."""
    parsers = {
        bool: flags.BooleanParser(),
        int: flags.IntegerParser(),
        float: flags.FloatParser(),
        str: flags.ArgumentParser(),
        tuple: _TupleParser(),
    }
    for kind, parser in parsers.items():
        config_flags.register_flag_parser_for_type(kind, _Parser(kind, parser))


def explain(error: Exception) -> str:
    """Returns the message for what was raised while flags and the configuration were read.

    What the code of a configuration file raised has the line that did, with the key in it.
    """
    cause: BaseException | None = error
    while cause is not None:  # absl and ml_collections wrap what the file raised
        if frame := _frame_of_file(cause):
            return f"{frame.filename}:{frame.lineno}: {frame.line}: {_tidy(cause)}"
        cause = cause.__context__
    if not isinstance(error, flags.Error):
        return f"configuration: {_tidy(error)}"
    hint = "" if str(error).startswith("flag --config.") else "\n--help lists the flags"
    return f"{error}{hint}"


def _frame_of_file(error: BaseException) -> traceback.FrameSummary | None:
    """Returns the innermost frame of what the configuration file is made of, if it was running."""
    found, reading = None, False
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        library = "absl" in path.parts or "importlib" in frame.filename
        if "ml_collections" in path.parts:
            reading = True
        elif reading and not (library or path.is_relative_to(_PACKAGE)):
            found = frame
    return found


def _tidy(error: BaseException) -> str:
    """Returns the message on one line, in the words of `TYPES` and without the list of all keys."""
    inner = error
    while isinstance(inner, KeyError | AttributeError) and inner.args:  # one may hold the other
        inner = inner.args[0]
    text = " ".join(str(inner).split())
    if match := _WRONG_TYPE.search(text):
        names = {kind.__name__: wanted for kind, wanted in TYPES.items()}
        return f"found {match[1]} ({match[2]}); expected {names.get(match[3], match[3])}"
    if isinstance(error, OSError):
        return text[max(text.find("[Errno"), 0) :]
    if not isinstance(error, KeyError | AttributeError):
        return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
    if match := re.fullmatch(r"""['"]*(\w+)['"]*( Did you mean.*)?""", text):
        return f"there is no key {match[1]!r}.{match[2] or ''}"
    return _OTHER_KEYS.sub(".", text)
