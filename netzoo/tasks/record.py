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
    """A task's part of `record.json` and of the table.

    Attributes:
      settings: Keys of the configuration's `data` that are kept besides those of every task, and
        the titles of their columns.
      scores: Fields of the record, in their order, and the keys of `eval.json` they are taken from.
      score_columns: The columns that show the scores.
      rank: The field that records are ranked by; higher is better.
      headline: Returns the score of a record as text, e.g. `"accuracy 87.50 %"`.
      examples: Title of the column of the number of evaluated examples.
      throughput_unit: What throughput is counted in, e.g. `"images"`.
      throughput_title: Title of the column of the median throughput.
      files: What is copied besides the files of every task, where the run has it.
    """

    settings: Mapping[str, str]
    scores: Mapping[str, str]
    score_columns: tuple[Column, ...]
    rank: str
    headline: Callable[[Mapping[str, Any]], str]
    examples: str
    throughput_unit: str
    throughput_title: str
    files: tuple[str, ...] = ()

    def columns(self) -> tuple[Column, ...]:
        """Returns the columns of the table, in their order."""
        rate = f"{self.throughput_unit}_per_second"
        return (
            *(Column(name, itemgetter(name), right=False) for name in ("record", "model", "init")),
            Column("data", _data, right=False),
            *(Column(title, itemgetter(key)) for key, title in self.settings.items()),
            Column("epochs", lambda r: f"{r['epochs']:g}"),
            Column("seed", itemgetter("seed")),
            *self.score_columns,
            Column(self.examples, lambda r: f"{r['num_examples']:,}"),
            Column("parameters", lambda r: f"{r['parameters'] / 1e6:.2f} M"),
            Column(self.throughput_title, lambda r: f"{r[rate]:,.0f}"),
            Column("wall time", _wall_time),
            Column("device", lambda r: ", ".join(r["machine"]["devices"]), right=False),
        )


def _data(record: Mapping[str, Any]) -> str:
    return f"{record['dataset']}: {record['train_split']} → {record['test_split']}"


def _wall_time(record: Mapping[str, Any]) -> str:
    minutes, seconds = divmod(round(record["wall_seconds"]), 60)
    return f"{minutes} min {seconds:02d} s"
