"""Prints results on standard output: lines, tables and JSON, with untrusted text escaped.

Class names, names of files and tensors, and messages of other libraries may hold anything. Only
this module and `netzoo.progress` use rich, and neither lets it parse a text as markup.
"""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from netzoo.errors import printable

_WIDEST = 100_000  # columns of a table that is not shown on a terminal


def say(text: str) -> None:
    """Print one or more lines on standard output."""
    print(printable(text, keep="\n"), flush=True)


def print_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    title: str = "",
    caption: str = "",
) -> None:
    """Print a table on standard output; only a terminal limits its width.

    `head` names the columns; those in `right` are aligned right.
    """
    table = Table(
        *(
            Column(_text(name), justify="right" if name in right else "left", overflow="fold")
            for name in head
        ),
        title=_text(title) if title else None,
        caption=_text(caption) if caption else None,
    )
    for row in rows:
        table.add_row(*map(_text, row))
    Console(width=None if is_terminal(Console()) else _WIDEST).print(table)


def markdown_table(columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; a column is its title and whether it is aligned right."""
    rule = ["--:" if right else "---" for _, right in columns]
    lines = ([title for title, _ in columns], *rows)
    texts = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([texts[0], "|" + "|".join(rule) + "|", *texts[1:]])


def is_terminal(console: Console) -> bool:
    """Return whether a console writes to a terminal."""
    # Variables such as FORCE_COLOR set `is_terminal` of rich, so also ask the file.
    return console.is_interactive and console.file.isatty()


def json_text(value: Any, *, pretty: bool = False) -> str:
    """Return JSON that is safe to print and gives the same value when read.

    Letters stay as they are. With `pretty`, each key of an object and each entry of a list of lists
    or objects has its own line.
    """
    return _pretty(value, "") if pretty else _compact(value)


def _pretty(value: Any, indent: str) -> str:
    inner = f"{indent}  "
    if isinstance(value, dict) and value:
        lines = (f"{_compact(key)}: {_pretty(item, inner)}" for key, item in value.items())
        return f"{{\n{inner}" + f",\n{inner}".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
        return f"[\n{inner}" + f",\n{inner}".join(map(_compact, value)) + f"\n{indent}]"
    return _compact(value)


def _compact(value: Any) -> str:
    return re.sub("[^ -~]", _json_escape, json.dumps(value, ensure_ascii=False))


def _json_escape(match: re.Match[str]) -> str:
    character = match[0]
    if printable(character) == character:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def _text(text: str) -> Text:
    return Text(printable(text))
