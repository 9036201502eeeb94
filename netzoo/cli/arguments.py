"""The parser of every command's arguments."""

import argparse
import sys
from pathlib import Path
from typing import Any

from netzoo.errors import UserError
from netzoo.paths import user_path


def typed_path(text: str) -> Path:
    """Convert the text of an option to a path; pass it as `type` to `add_argument`."""
    try:
        return user_path(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class Parser(argparse.ArgumentParser):
    """A parser that keeps line breaks of descriptions and raises errors of writing its output."""

    def __init__(self, *args: Any, **options: Any):
        """Create a parser; see `argparse.ArgumentParser`."""
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse hides errors, such as a full disk.
        if message and (stream := file or sys.stderr):
            stream.write(message)
