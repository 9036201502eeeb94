"""A task's part of the record of a run, and its table of records."""

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

RECORD_FILE = "record.json"


class Column(NamedTuple):
    """A column of a table of records."""

    title: str
    # Returns the cell for a record. The field "record" is the name of the record's folder.
    cell: Callable[[Mapping[str, Any]], Any]
    right: bool = True  # aligned right, as numbers are


class Record(NamedTuple):
    """A task's part of `record.json` and of the table."""

    # Maps the task's own columns: keys of the configuration's section `data` to titles.
    settings: Mapping[str, str]
    # Prefixes of configuration keys that scores depend on; `eval.json` holds their values.
    evaluated: tuple[str, ...]
    # Maps fields to their keys in `eval.json` and their shapes (`netzoo.json_files`).
    scores: Mapping[str, tuple[str, Any]]
    score_columns: tuple[Column, ...]
    rank: str  # the field that ranks records; higher is better
    headline: Callable[[Mapping[str, Any]], str]  # the score as text, e.g. "accuracy 87.50 %"
    examples: str  # title of the column for the number of evaluated examples
    throughput_unit: str  # e.g. "images"
    throughput_title: str  # title of the column for the median throughput
    files: tuple[str, ...] = ()  # further files to copy, if the run has them

    @property
    def rate(self) -> str:
        """The field with the median throughput, e.g. "images_per_second"."""
        return f"{self.throughput_unit}_per_second"

    def shape(self) -> dict[str, Any]:
        """Return the shape of `record.json`, as far as the table needs it."""
        texts = ("model", "init", "dataset", "train_split", "test_split")
        return {
            **dict.fromkeys(texts, str),
            **dict.fromkeys(self.settings, int),
            **{name: shape for name, (_, shape) in self.scores.items()},
            **dict.fromkeys(("epochs", "wall_seconds", self.rate), float),
            **dict.fromkeys(("seed", "parameters"), int),
            "machine": {"devices": [str]},
        }

    def columns(self) -> tuple[Column, ...]:
        """Return the columns of the table in order."""
        return (
            *(Column(name, itemgetter(name), right=False) for name in ("record", "model", "init")),
            Column("data", "{dataset}: {train_split} → {test_split}".format_map, right=False),
            *(Column(title, itemgetter(key)) for key, title in self.settings.items()),
            Column("epochs", "{epochs:g}".format_map),
            Column("seed", itemgetter("seed")),
            *self.score_columns,
            Column(self.examples, "{num_examples:,}".format_map),
            Column("parameters", lambda r: f"{r['parameters'] / 1e6:.2f} M"),
            Column(self.throughput_title, f"{{{self.rate}:,.0f}}".format_map),
            Column("wall time", _wall_time),
            Column("device", lambda r: ", ".join(r["machine"]["devices"]), right=False),
        )


def _wall_time(record: Mapping[str, Any]) -> str:
    minutes, seconds = divmod(round(record["wall_seconds"]), 60)
    return f"{minutes} min {seconds:02d} s"
