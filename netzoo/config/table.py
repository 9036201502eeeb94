"""The table of a task's keys, which defines defaults, checks and parsing."""

import ast
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from netzoo.config import keys
from netzoo.config.keys import Key
from netzoo.config.rules import TYPES, Rule, one_of, or_none
from netzoo.config.tasks import DEFAULT_TASK, TASKS, task_module
from netzoo.errors import UserError, unknown_name

_MAX_INTEGER = 1 << 63  # no key needs a larger one
_WORDS = re.compile(
    r"[\w./~-]+(,[\w./~-]+)*"
)  # a tuple of words needs no quotes on the command line


class Table(NamedTuple):
    """The valid keys of a task's configuration."""

    keys: dict[str, Key]  # by name; keys of every task first
    batch_rows: str  # the key whose value `train.grad_accum_steps` must divide
    options: dict[str, Rule]  # options of networks, the further keys of `model`
    free: tuple[str, ...]  # keys, and sections with a dot, that may change in a continued run
    local: tuple[str, ...]  # keys that each machine of a job may set differently
    # Yields further conflicts of the values by key; see `netzoo.config.keys.conflicts`.
    conflicts: Callable[[Mapping[str, Any], Mapping[str, Any], bool], Iterable[tuple[str, str]]]


@functools.cache
def task_table(task: str) -> Table:
    """Return the table of a task.

    Raises:
      UserError: The task is unknown.
    """
    own = task_module(task, "config")
    table = {key.name: key for key in (Key("task", task, one_of(*TASKS), "task"), *keys.KEYS)}
    table |= {name: table[name]._replace(default=value) for name, value in own.DEFAULTS.items()}
    return Table(
        table | {key.name: key for key in own.KEYS},
        own.BATCH_ROWS,
        keys.OPTIONS | own.OPTIONS,
        keys.FREE + own.FREE,
        keys.LOCAL + own.LOCAL,
        getattr(own, "conflicts", lambda values, defaults, training: ()),
    )


def default_config(task: str = DEFAULT_TASK) -> ConfigDict:
    """Return the default configuration of a task, which uses the task's synthetic data set.

    Any key can be assigned; `validate` rejects invalid names and values.

    Raises:
      UserError: The task is unknown.
    """
    table = task_table(task).keys
    sections: dict[str, dict] = {name.partition(".")[0]: {} for name in table if "." in name}
    config = ConfigDict(sections, type_safe=False)
    config.update_from_flattened_dict(
        {name: None if key.optional else key.default for name, key in table.items()}
    )
    return config


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Return the values by key, such as `train.epochs`."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            flat.update({f"{key}.{inner}": v for inner, v in flatten(value).items()})
        else:
            flat[key] = value
    return flat


def source_kind(source: str) -> str:
    """Return the word before the colon of a source, or "" without a colon."""
    kind, colon, _ = source.partition(":")
    return kind if colon else ""


def shared_values(config: ConfigDict) -> dict[str, Any]:
    """Return the values by key that all processes of a job need to have in common.

    Sources of the same kind may have other paths, because training compares the examples.
    """
    values, local = flatten(config), task_table(config.task).local
    values["data.source"] = source_kind(config.data.source) or config.data.source
    return {key: value for key, value in values.items() if key not in local}


def validate(config: ConfigDict, *, training: bool = False) -> None:
    """Check names and values against the table of the task.

    With `training`, splits must be disjoint, and the optimizer and the loss must use the keys that
    are set.

    Raises:
      UserError: Keys or values are invalid; the message lists all, one per line. Conflicts between
        keys are listed only if every value is valid.
    """
    table, values = _table(config), flatten(config)
    faults = [
        str(unknown_name("key", name, table.keys))
        for name in values
        if name not in table.keys and not name.startswith("model.")
    ]
    if missing := [name for name in table.keys if name not in values]:
        faults.append(f"missing: {', '.join(missing)}; start from default_config")

    def fault(name, expected):
        return f"{name} is {values[name]!r:.200}; expected {expected}"

    if not faults:
        faults = [fault(n, e) for n, value in values.items() if (e := _expected(table, n, value))]
    if not faults:
        defaults = {n: None if key.optional else key.default for n, key in table.keys.items()}
        conflicts = keys.conflicts(values, defaults, table.batch_rows, training)
        own = table.conflicts(values, defaults, training)
        faults = [fault(name, expected) for name, expected in (*conflicts, *own)]
    if faults:
        raise UserError("\n".join(faults))


def _table(config: ConfigDict) -> Table:
    if not isinstance(config, ConfigDict):
        raise UserError(f"the configuration is {config!r}; expected what default_config returns")
    return task_table(str(config.get("task")))


def _expected(table: Table, name: str, value: Any) -> str | None:
    """Return a description of valid values, or None if the value is valid."""
    key = table.keys.get(name)
    if key is None:
        rules = [table.options.get(name.removeprefix("model."))]
    else:
        kind = TYPES[key.type]
        by_rule = key.type is tuple or (key.type is str and not isinstance(value, str))
        if by_rule and key.rule:
            # The rule says how many values are allowed, and which.
            kind = kind._replace(wanted=key.rule.wanted)
        rules = [or_none(kind) if key.optional else kind, None if value is None else key.rule]
    for rule in filter(None, rules):
        try:
            if not rule.holds(value):
                return rule.wanted
        except (TypeError, ValueError, OverflowError, re.error):  # a value of another type
            return rule.wanted
    return None


def parse(config: ConfigDict, name: str, text: str) -> Any:
    """Return the value of a key from its text on the command line; `validate` checks it.

    Raises:
      UserError: The key is unknown.
    """
    table = _table(config)
    options = [f"model.{option}" for option in (*table.options, *config.model)]
    if name not in table.keys and name not in options:
        raise unknown_name("key", name, dict.fromkeys([*table.keys, *options]))
    kind = table.keys[name].type if name in table.keys else None
    if text == "None":
        return None
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    try:
        value = text if kind is str else ast.literal_eval(text)
        return text if isinstance(value, int) and abs(value) > _MAX_INTEGER else value
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return tuple(text.split(",")) if kind is tuple and _WORDS.fullmatch(text) else text
