"""The parser of every command's arguments."""

import argparse
import sys
from typing import Any


class Parser(argparse.ArgumentParser):
    """A parser that shows a description as it is written, and reports output that fails."""

    def __init__(self, *args: Any, **options: Any):
        """Create a parser; see `argparse.ArgumentParser`."""
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse hides errors, such as a full disk.
        if message and (stream := file or sys.stderr):
            stream.write(message)
