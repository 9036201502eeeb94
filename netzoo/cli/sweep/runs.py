"""Reads the file of a sweep, and lists and checks its runs."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from netzoo.config import check_same_run, load_config, task_table
from netzoo.config.overrides import override, read_config, run_file
from netzoo.errors import UserError, unknown_name
from netzoo.paths import user_path
from netzoo.workdir.folder import has_begun

NAME = "name"  # the entry of a row that is not a key
_SHAPE = {"config": str, "set": dict, "rows": list, "grid": dict}
_FOLDER = re.compile(r"\w[\w.+=,-]{0,199}")
_RESERVED = ("lock",)


class Run(NamedTuple):
    """A run of a sweep."""

    name: str  # of its folder and its log
    row: str  # the name of its row, or ""
    overrides: dict[str, str]  # the values on its command line, by key
    config: ConfigDict  # with these values, not resolved


class Sweep(NamedTuple):
    """The runs of a file."""

    config: str  # the option --config of every run
    axes: list[str]  # the keys of the grid and of rows without names
    runs: list[Run]


def read_sweep(file: str) -> Sweep:
    """Run the file of a sweep, and list its runs.

    Its function `get_sweep` returns a dictionary with up to four entries. The entry `set`, each row
    and the entry `grid` are dictionaries whose keys are those of the configuration:

        config    the configuration of every run, as for --config
        set       values of every run
        rows      a list of rows of values, each with an optional "name"; default: one empty row
        grid      a list of values for each key

    Every row is combined with every combination of the values in `grid`. A value in `rows` or
    `grid` replaces one in `set`.

    Raises:
      UserError: The file cannot be read, an entry or a key is unknown, or the names of two runs are
        the same.
    """
    if not user_path(file).is_file():
        raise UserError(f"{file} is not a file; expected a Python file with a function get_sweep")
    given = _checked(file, run_file(file, "get_sweep", "the sweep"))
    base = read_config(given["config"])
    rows, grid = given["rows"], given["grid"]
    named = [NAME in row for row in rows]
    if any(named) != all(named):
        raise UserError(f"{file}: expected a {NAME!r} in every row or in none")
    by_row = [] if all(named) else [key for row in rows for key in row]
    runs = [*_list_runs(base, given)]
    for name, count in Counter(run.name for run in runs).items():
        if count > 1:
            raise UserError(f"{file}: {count} runs have the name {name!r}; name the rows")
        if not _FOLDER.fullmatch(name) or name in _RESERVED:
            raise UserError(
                f"{file}: a run would have the name {name!r:.300}; name its row, with up to 200 "
                "letters, digits and the characters _.+=,-"
            )
    return Sweep(given["config"], [*dict.fromkeys([*by_row, *grid])], runs)


def _checked(file: str, given: Any) -> dict[str, Any]:
    """Return the entries of a sweep with their defaults; raise a UserError for other types."""
    wanted = "a dictionary with 'config' and, if needed, 'set', 'rows' and 'grid'"
    if not isinstance(given, Mapping) or "config" not in given:
        raise UserError(f"{file}: get_sweep returns {given!r:.100}; expected {wanted}")
    for name in given:
        if name not in _SHAPE:
            raise unknown_name(f"entry of the sweep in {file}:", name, _SHAPE)
    whole = {"set": {}, "rows": [{}], "grid": {}, **given}
    for name, kind in _SHAPE.items():
        if not isinstance(whole[name], kind):
            raise UserError(f"{file}: {name!r} is {whole[name]!r:.100}; expected a {kind.__name__}")
    for row in whole["rows"]:
        if not isinstance(row, Mapping):
            raise UserError(f"{file}: a row is {row!r:.100}; expected a dict of values by key")
        if twice := [key for key in row if key in whole["grid"]]:
            raise UserError(f"{file}: {twice[0]} is both in 'rows' and in 'grid'")
    for key, values in whole["grid"].items():
        if isinstance(values, str) or not hasattr(values, "__len__") or not len(values):
            raise UserError(f"{file}: in 'grid', {key} is {values!r:.100}; expected a list")
    return whole


def _list_runs(base: ConfigDict, given: Mapping[str, Any]) -> Iterator[Run]:
    """Yield the runs in order; raise a UserError that lists all keys and values that are wrong."""
    faults: dict[str, None] = {}
    grid = given["grid"]
    for row, point in itertools.product(given["rows"], itertools.product(*grid.values())):
        own = {**{k: v for k, v in row.items() if k != NAME}, **dict(zip(grid, point, strict=True))}
        texts = {key: _typed(value) for key, value in {**given["set"], **own}.items()}
        config = base.copy_and_resolve_references()
        try:
            override(config, texts)
        except UserError as error:
            faults |= dict.fromkeys(str(error).splitlines())
            continue
        row_name = str(row.get(NAME, ""))
        in_name = grid if row_name else own
        parts = [f"{label(config, key)}={_short(own[key])}" for key in in_name]
        name = ",".join([row_name] * bool(row_name) + parts) or "base"
        yield Run(name, row_name, texts, config)
    if faults:
        raise UserError("\n".join(faults))


def label(config: ConfigDict, key: str) -> str:
    """Return the last word of a key, or the whole key if another key ends with the same word."""
    word = key.rpartition(".")[2]
    same = [other for other in task_table(config.task).keys if other.rpartition(".")[2] == word]
    return word if len({*same, key}) == 1 else key


def _typed(value: Any) -> str:
    """Return a value as one would type it after `--config.KEY=`."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return value if isinstance(value, str) else repr(_tuples(value))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def _short(value: Any) -> str:
    """Return a value as a part of the name of a folder."""
    text = "-".join(map(str, value)) if isinstance(value, list | tuple) else _typed(value)
    return re.sub(r"[^\w.+-]+", "-", text)


def check_runs(runs: Sequence[Run], workdir: Path) -> dict[str, ConfigDict]:
    """Resolve the configurations of runs, and check them as far as possible without devices.

    It opens the data of each run. A run that exists in `workdir` must have the same configuration.

    Returns:
      The resolved configurations by name.

    Raises:
      UserError: Runs are invalid, or differ from those in `workdir`; the message lists all errors.
    """
    from netzoo.tasks import resolve_config
    from netzoo.training.optimizer import check_optimizer

    resolved: dict[str, ConfigDict] = {}
    faults: dict[str, list[str]] = {}
    for run in runs:
        folder = workdir / run.name
        try:
            config = resolve_config(run.config, folder, training=True)
            check_optimizer(config)
            if not config.data.validation_split:
                raise UserError("expected a validation split, whose scores the sweep compares")
            if has_begun(folder):
                check_same_run(config, folder)
                _check_epochs(config, folder)
            resolved[run.name] = config
        except UserError as error:
            faults.setdefault(str(error), []).append(run.name)
    if faults:
        raise UserError("\n".join(f"{_named(names)}: {text}" for text, names in faults.items()))
    return resolved


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} other run(s)"


def _check_epochs(config: ConfigDict, folder: Path) -> None:
    """Refuse to extend a run: it would differ from a run that had this length from the start."""
    if (before := load_config(folder).train.epochs) != config.train.epochs:
        raise UserError(
            f"the run has train.epochs {before}, now {config.train.epochs}; a sweep does not extend"
            " its runs, because their schedules would differ from those of new runs; give another "
            "--workdir"
        )
