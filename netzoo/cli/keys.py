"""Lists the configuration keys with their meanings, defaults and valid values.

netzoo keys [--markdown]
"""

from collections.abc import Iterator, Sequence

from netzoo.cli.arguments import Parser
from netzoo.config.rules import TYPES
from netzoo.config.table import task_table
from netzoo.config.tasks import TASKS
from netzoo.console import say

_HEAD = "| key | type | default | expected | meaning |\n|---|---|---|---|---|"


def tables() -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Yield titles and rows: first the keys of all tasks, then the keys of each task.

    A row is the key, its type, its default, the valid values and the meaning.
    """
    rows = {task: dict.fromkeys(_rows(task)) for task in TASKS}
    common = [row for row in next(iter(rows.values())) if all(row in own for own in rows.values())]
    yield "every task", common
    for task, own in rows.items():
        yield task, [row for row in own if row not in common]


def _rows(task: str) -> Iterator[tuple[str, ...]]:
    for key in task_table(task).keys.values():
        kind = key.type.__name__ + " or None" * key.optional
        default = None if key.optional else key.default
        expected = key.rule.wanted if key.rule else TYPES[key.type].wanted
        yield key.name, kind, repr(default), expected, key.meaning


def text() -> str:
    """Return the tables for a terminal."""
    lines = []
    for title, rows in tables():
        lines.append(f"\nKeys of {title}, --config.KEY=VALUE:")
        for key, kind, default, expected, meaning in rows:
            lines += [f"  {key} = {default}", f"      {meaning} ({kind}: {expected})"]
    return "\n".join(lines)


def markdown() -> str:
    """Return the tables in the format of docs/configs.md."""
    parts = []
    for title, rows in tables():
        lines = [f"### Keys of {title}\n\n{_HEAD}"]
        for row in rows:
            key, kind, default, expected, meaning = (cell.replace("|", "\\|") for cell in row)
            lines.append(f"| `{key}` | {kind} | `{default}` | {expected} | {meaning} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = Parser(prog="netzoo keys", description=__doc__)
    parser.add_argument(
        "--markdown", action="store_true", help="print the tables of docs/configs.md"
    )
    say(markdown() if parser.parse_args(arguments).markdown else text())
