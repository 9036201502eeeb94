"""The kinds of rules that `netzoo.config.rules` is written in."""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """What a value has to be; `holds` may raise for values of another shape."""

    holds: Callable[[Any], bool]
    wanted: str


class Pair(NamedTuple):
    """What the value of a key has to be beside that of another, which `wanted` has as `{}`."""

    key: str
    other: str
    holds: Callable[[Any, Any], bool]
    wanted: str


def is_number(x: Any) -> bool:
    """Returns whether it is a finite number, and not True or False."""
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


def _is_whole(x: Any) -> bool:
    return is_number(x) and isinstance(x, int)


def at_least(bound: float) -> Rule:
    """A number, the bound included."""
    return Rule(lambda x: is_number(x) and x >= bound, f"at least {bound}")


def within(low: float, high: float) -> Rule:
    """A number, both bounds included."""
    return Rule(lambda x: is_number(x) and low <= x <= high, f"{low} to {high}")


def one_of(*names: str) -> Rule:
    """One of some names."""
    return Rule(lambda x: x in names, f"{', '.join(names[:-1])} or {names[-1]}")


def channels(which: str, holds: Callable[[float], bool]) -> Rule:
    """A number a channel."""
    return Rule(
        lambda x: len(x) == 3 and all(is_number(v) and holds(v) for v in x),
        f"three {which}: of red, green and blue",
    )


def interval(high: float, wanted: str) -> Rule:
    """Two numbers that do not fall, above 0 and up to `high`."""

    def holds(x: Any) -> bool:
        return len(x) == 2 and all(map(is_number, x)) and 0 < x[0] <= x[1] <= high

    return Rule(holds, wanted)


def or_none(rule: Rule) -> Rule:
    """None, or what the rule says."""
    return Rule(lambda x: x is None or rule.holds(x), f"{rule.wanted}, or None")


POSITIVE = Rule(lambda x: is_number(x) and x > 0, "more than 0")
SHARE = Rule(lambda x: is_number(x) and 0 <= x < 1, "in [0, 1)")
FRACTION = Rule(lambda x: is_number(x) and 0 < x <= 1, "in (0, 1]")
COUNT = Rule(lambda x: _is_whole(x) and x >= 1, "a whole number of at least 1")
SWITCH = Rule(lambda x: isinstance(x, bool), "True or False")
NAME = Rule(lambda x: bool(x.strip()), "a name, not empty")
SEED = Rule(lambda x: 0 <= x < 2**32, "0 to 2**32 - 1")  # JAX forgets the higher bits
DEVICES = Rule(lambda x: x >= 1 or x == -1, "at least 1, or -1 for all devices")
NOTHING = Rule(lambda x: False, "nothing here: it is decided elsewhere")


def _is_table(table: Any, holds: Callable[[Any], bool]) -> bool:
    return bool(table) and all(bool(re.compile(p)) and holds(value) for p, value in table)


def _rises(lengths: Any) -> bool:
    whole = bool(lengths) and all(map(_is_whole, lengths))
    return whole and all(a < b for a, b in zip((1, *lengths), lengths, strict=False))


def _is_variant(x: Any) -> bool:
    return len(x) == 5 and all(map(COUNT.holds, x[:4])) and SHARE.holds(x[4])


FACTORS = Rule(
    lambda table: _is_table(table, at_least(0).holds),
    "pairs (regular expression, factor of at least 0)",
)
FACTORS_NOT_ALL_0 = Rule(
    lambda table: FACTORS.holds(table) and any(factor for _, factor in table),
    f"{FACTORS.wanted}, one of them more than 0: else nothing is trained",
)
AXES = Rule(
    lambda table: _is_table(table, lambda x: x in (None, "largest") or _is_whole(x)),
    "pairs (regular expression, axis, None or 'largest')",
)
RISING = Rule(_rises, "whole numbers that rise from at least 2")
VARIANT = Rule(_is_variant, "(layers, width, hidden units, heads, dropout rate)")


def divides(parts: int, whole: int) -> bool:
    """Returns whether nothing is left over."""
    return whole % parts == 0


def are_apart(split: str, other: str) -> bool:
    """Returns False if a part of a split is one of the other's, or one of the two is whole.

    Slices that overlap are not seen: the numbers of examples say what a percentage is.
    """

    def overlap(a: str, b: str) -> bool:
        return a == b or a == b.partition("[")[0] or b == a.partition("[")[0]

    parts, others = ([part.strip() for part in text.split("+")] for text in (split, other))
    return not any(overlap(a, b) for a in parts for b in others)
