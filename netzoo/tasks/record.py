"""What a task keeps of a finished run, and how its table of records looks."""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A column of a table of records."""

    title: str
    cell: Callable[[Mapping[str, Any]], Any]  # of a record, with its folder's name as "record"
    right: bool = True  # aligned, as numbers are


class Record(NamedTuple):
    """A task's part of `record.json` and of the table."""

    # Keys of the configuration's `data`, besides those of every task, and their columns' titles.
    settings: Mapping[str, str]
    scores: Mapping[str, str]  # fields, and the keys of `eval.json` that they are taken from
    score_columns: tuple[Column, ...]
    rank: str  # the field that records are ranked by; higher is better
    headline: Callable[[Mapping[str, Any]], str]  # the score as text, e.g. "accuracy 87.50 %"
    examples: str  # title of the column of the number of evaluated examples
    throughput_unit: str  # e.g. "images"
    throughput_title: str  # of the column of the median throughput
    files: tuple[str, ...] = ()  # copied besides the files of every task, where the run has them

    def columns(self) -> tuple[Column, ...]:
        """Returns the columns of the table, in their order."""
        rate = f"{self.throughput_unit}_per_second"
        return (
            *(Column(name, itemgetter(name), right=False) for name in ("record", "model", "init")),
            Column("data", "{dataset}: {train_split} → {test_split}".format_map, right=False),
            *(Column(title, itemgetter(key)) for key, title in self.settings.items()),
            Column("epochs", "{epochs:g}".format_map),
            Column("seed", itemgetter("seed")),
            *self.score_columns,
            Column(self.examples, "{num_examples:,}".format_map),
            Column("parameters", lambda r: f"{r['parameters'] / 1e6:.2f} M"),
            Column(self.throughput_title, f"{{{rate}:,.0f}}".format_map),
            Column("wall time", _wall_time),
            Column("device", lambda r: ", ".join(r["machine"]["devices"]), right=False),
        )


def _wall_time(record: Mapping[str, Any]) -> str:
    minutes, seconds = divmod(round(record["wall_seconds"]), 60)
    return f"{minutes} min {seconds:02d} s"
