"""Rules for values of configuration keys, with their texts in error messages."""

import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from netzoo.buckets import is_in_bucket
from netzoo.paths import is_address

_BOUNDS = re.compile(r"\s*(-?\d{1,18})?(%?)\s*:\s*(-?\d{1,18})?(%?)\s*")
_LONGEST, _MOST_GROUPS = 1000, 50  # characters and groups of a regular expression
_MANY = 2**40  # replaces the unknown number of examples
# Units; slices in the same one can be compared without the number of examples.
_UNITS = "%", "examples"


class Rule(NamedTuple):
    """A check of one value."""

    holds: Callable[[Any], bool]  # whether a value is valid; may raise for other types
    wanted: str  # description of valid values, as in "expected at least 1"


def is_number(x: Any) -> bool:
    """Return whether `x` is a number that a float can hold; True and False are not numbers."""
    return isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= sys.float_info.max


def is_whole(x: Any) -> bool:
    """Return whether `x` is an integer."""
    return is_number(x) and isinstance(x, int)


def _is_module(x: Any) -> bool:
    """Return whether `x` is the dotted name of a module outside netzoo, other than `__main__`."""
    parts = x.split(".") if isinstance(x, str) else [""]
    return all(map(str.isidentifier, parts)) and parts[0] != "netzoo" and "__main__" not in parts


def at_least(bound: float) -> Rule:
    """Return the rule for numbers of at least `bound`."""
    return Rule(lambda x: is_number(x) and x >= bound, f"at least {bound}")


def within(low: float, high: float) -> Rule:
    """Return the rule for numbers between two bounds, inclusive."""
    return Rule(lambda x: is_number(x) and low <= x <= high, f"{low} to {high}")


def interval(high: float, wanted: str) -> Rule:
    """Return the rule for a tuple of two numbers with 0 < first <= second <= `high`."""
    return Rule(
        lambda x: len(x) == 2 and all(map(is_number, x)) and 0 < x[0] <= x[1] <= high, wanted
    )


def one_of(*names: str) -> Rule:
    """Return the rule for a choice of names."""
    return Rule(lambda x: x in names, f"{', '.join(names[:-1])} or {names[-1]}")


def or_none(rule: Rule) -> Rule:
    """Return the rule for None or values of `rule`."""
    return Rule(lambda x: x is None or rule.holds(x), f"{rule.wanted}, or None")


def _is_pattern(x: Any) -> bool:
    """Return whether `x` is a regular expression; Python cannot compile deeply nested ones."""
    if not isinstance(x, str) or len(x) > _LONGEST or x.count("(") > _MOST_GROUPS:
        return False
    return bool(re.compile(x))


def patterns(holds: Callable[[Any], bool], wanted: str) -> Rule:
    """Return the rule for an ordered table of regular expressions and values."""
    return Rule(
        lambda x: bool(x) and all(_is_pattern(p) and holds(value) for p, value in x),
        f"pairs (regular expression, {wanted})",
    )


POSITIVE = Rule(lambda x: is_number(x) and x > 0, "more than 0")
SHARE = Rule(lambda x: is_number(x) and 0 <= x < 1, "in [0, 1)")
OPEN_SHARE = Rule(lambda x: is_number(x) and 0 < x < 1, "in (0, 1)")
FRACTION = Rule(lambda x: is_number(x) and 0 < x <= 1, "in (0, 1]")
IMAGE_SIZE = within(1, 4096)  # side in pixels
CROP_PCT = within(0.1, 1)  # a smaller one enlarges images to gigabytes before the crop
INTERPOLATION = one_of("area", "bilinear", "bicubic", "hamming")
CROP_MODE = one_of("center", "squash")
COUNT = Rule(lambda x: is_whole(x) and x >= 1, "an integer of at least 1")
SWITCH = Rule(lambda x: isinstance(x, bool), "True or False")
# Rules of each type.
TYPES = {
    bool: SWITCH,
    int: Rule(is_whole, "an integer"),
    float: Rule(is_number, "a finite number"),
    str: Rule(lambda x: isinstance(x, str) and "\0" not in x, "text without null characters"),
    tuple: Rule(lambda x: isinstance(x, tuple | list), "a tuple, such as (1, 2)"),
}
MODULES = Rule(
    lambda x: all(map(_is_module, x)), "names of your modules, such as ('my_package.network',)"
)
NAME = Rule(lambda x: bool(x.strip()), "a name, not empty")
PATH = Rule(
    lambda x: NAME.holds(x) and not is_address(x), "a path, not an address such as gs://BUCKET"
)
RUN_PATH = Rule(
    lambda x: NAME.holds(x) and (is_in_bucket(x) or not is_address(x)),
    "a path, or the address of a run in a bucket, gs://BUCKET/RUN",
)
DATA_PATH = Rule(RUN_PATH.holds, "a path, or the address of a folder in a bucket, gs://BUCKET/DATA")
SEED = Rule(lambda x: 0 <= x < 2**32, "0 to 2**32 - 1")  # JAX ignores the higher bits
DEVICES = Rule(lambda x: x >= 1 or x == -1, "at least 1, or -1 for all devices")
FROM_NAME = Rule(lambda x: False, "no value: it comes from the network's name, model.name")
FROM_DATA = Rule(lambda x: False, "no value: it comes from the data")
AXES = patterns(lambda x: x in (None, "largest") or is_whole(x), "axis, None or 'largest'")
MULTS = patterns(at_least(0).holds, "factor of at least 0")
START_EPOCHS = Rule(
    lambda x: patterns(at_least(0).holds, "").holds(x) and any(epoch == 0 for _, epoch in x),
    "pairs (regular expression, epoch of at least 0), one with epoch 0, so that something is "
    "trained from the start",
)
LR_MULTS = Rule(
    lambda x: MULTS.holds(x) and any(factor for _, factor in x),
    f"{MULTS.wanted}, at least one above 0, so that something is trained",
)


def are_apart(split: str, other: str) -> bool | None:
    """Return whether two split expressions have no examples in common.

    None means that this depends on the sizes of the splits, for example for a slice in percent and
    a slice in examples.
    """

    def apart(a: tuple[str, str, range], b: tuple[str, str, range]) -> bool | None:
        if a[0] != b[0]:
            return None if "all" in (a[0], b[0]) else True
        if a[1] and b[1] and (a[1] != b[1] or a[1] not in _UNITS):
            return None
        return max(a[2].start, b[2].start) >= min(a[2].stop, b[2].stop)

    parts, others = (list(map(_slice, text.split("+"))) for text in (split, other))
    found = {apart(a, b) for a in parts for b in others}
    return False if False in found else None if None in found else True


def _slice(part: str) -> tuple[str, str, range]:
    """Return the name of a split, the unit of its slice ("" for the whole), and the slice."""
    name, _, bounds = part.strip().removesuffix("]").partition("[")
    match = _BOUNDS.fullmatch(bounds)
    if match is None:  # another expression, or none
        return name.strip(), bounds, range(_MANY)
    first, first_unit, last, last_unit = match.groups()
    unit = (first_unit if first else last_unit) or ("examples" if first or last else "")
    if unit == "examples" and "-" in bounds:
        unit = "examples from the end"
    ends = slice(*(int(end) if end else None for end in (first, last)))
    return name.strip(), unit, range(*ends.indices(100 if unit == "%" else _MANY))
