"""Checks a configuration by its rules, before data are opened."""

import re
from typing import Any

from ml_collections import ConfigDict

from netzoo.config.defaults import default_config, flatten
from netzoo.config.kinds import Rule, is_number
from netzoo.config.rules import OPTIONS, PAIRS, RULES, TRAINING_PAIRS
from netzoo.errors import UserError, unknown_name

TYPES = {
    bool: "True or False",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    tuple: "a tuple, such as (1, 2)",
}


def validate(config: ConfigDict, *, training: bool = False) -> None:
    """Checks every key, and what joins two keys.

    Args:
      config: The configuration.
      training: Whether a run is to be trained by it: then its splits have to be apart, and unknown
        keys are faults. For evaluation any split will do, and runs of other versions may have keys
        that this one has not.

    Raises:
      UserError: With every fault found, one a line.
    """
    if not isinstance(config, ConfigDict):
        raise UserError(f"the configuration is {config!r}; expected what default_config returns")
    task = str(config.get("task"))
    default, found = default_config(task), flatten(config)
    faults = _misplaced(flatten(default), found, training)
    if not faults:
        rules = RULES[task] | {f"model.{name}": rule for name, rule in OPTIONS[task].items()}
        faulty = {key: _fault(key, found[key], default, rules.get(key)) for key in found}
        faults = [
            f"{key} is {found[key]!r}; expected {wanted}"
            for key, wanted in faulty.items()
            if wanted
        ]
        for key, other, holds, wanted in PAIRS[task] + (TRAINING_PAIRS if training else ()):
            a, b = found[key], found[other]
            if not (faulty[key] or faulty[other] or a is None or b is None or holds(a, b)):
                faults.append(f"{key} is {a!r}; expected {wanted.format(repr(b))}")
    if faults:
        raise UserError("\n".join(faults))


def _misplaced(expected: dict[str, Any], found: dict[str, Any], training: bool) -> list[str]:
    """Returns the faults of keys that are missing or unknown."""
    faults = [
        str(unknown_name("key", key, expected))
        for key in found
        if training and not (key in expected or key.startswith("model."))
    ]
    missing = [key for key in expected if key not in found]
    if missing:
        faults.append(f"missing: {', '.join(missing)}; start from default_config")
    return faults


def _fault(key: str, value: Any, default: ConfigDict, rule: Rule | None) -> str | None:
    """Returns what was expected of a value, None where it is that."""
    *tables, name = key.split(".")
    for table in tables:
        default = default.get(table, ConfigDict())
    if name in default:
        kind, optional = default.get_type(name), default[name] is None
        if value is None and optional:
            return None
        right = is_number(value) if kind is float else isinstance(value, kind)
        if not right or (kind is int and isinstance(value, bool)):
            return f"{TYPES[kind]}, or None" if optional else TYPES[kind]
    try:
        return None if rule is None or rule.holds(value) else rule.wanted
    except (TypeError, ValueError, re.error):  # of another shape than the rule looks for
        return rule.wanted
