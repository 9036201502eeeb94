"""What a task keeps of a finished run, and how its table of records looks."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A column of a table of records.

    Attributes:
      title: Its head.
      cell: Returns the text for a record, which has its folder's name as `record`.
      right: Whether it is aligned to the right, as numbers are.
    """

    title: str
    cell: Callable[[Mapping[str, Any]], Any]
    right: bool = True


class Record(NamedTuple):
    """A task's part of `record.json`.

    Attributes:
      throughput_unit: What throughput is counted in, e.g. `"images"`.
      settings: Keys of the configuration's `data` that are kept besides those of every task.
      scores: Fields of the record, in their order, and the keys of `eval.json` they are taken from.
      rank: The field that records are ranked by; higher is better.
      headline: Returns the score of a record as text, e.g. `"accuracy 87.50 %"`.
      columns: The table.
      files: What is copied besides the files of every task, where the run has it.
    """

    throughput_unit: str
    settings: tuple[str, ...]
    scores: Mapping[str, str]
    rank: str
    headline: Callable[[Mapping[str, Any]], str]
    columns: tuple[Column, ...]
    files: tuple[str, ...] = ()


def throughput(title: str, unit: str) -> Column:
    """Returns the column of the median throughput."""
    return Column(title, lambda r: f"{r[f'{unit}_per_second']:,.0f}")


def count(title: str) -> Column:
    """Returns the column of the number of evaluated examples."""
    return Column(title, lambda r: f"{r['num_examples']:,}")


def _data(record: Mapping[str, Any]) -> str:
    return f"{record['dataset']}: {record['train_split']} → {record['test_split']}"


def _wall_time(record: Mapping[str, Any]) -> str:
    minutes, seconds = divmod(round(record["wall_seconds"]), 60)
    return f"{minutes} min {seconds:02d} s"


# Columns that every task has.
RUN = (
    Column("record", lambda r: r["record"], right=False),
    Column("model", lambda r: r["model"], right=False),
    Column("init", lambda r: r["init"], right=False),
    Column("data", _data, right=False),
)
TRAINING = (Column("epochs", lambda r: f"{r['epochs']:g}"), Column("seed", lambda r: r["seed"]))
PARAMETERS = Column("parameters", lambda r: f"{r['parameters'] / 1e6:.2f} M")
MACHINE = (
    Column("wall time", _wall_time),
    Column("device", lambda r: ", ".join(r["machine"]["devices"]), right=False),
)
