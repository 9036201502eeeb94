"""Counts the bytes that each device sends, from the text of a compiled program.

Collectives are assumed to run around a ring of n devices. Each device then sends 2 (n - 1) / n
times the bytes of an all-reduce, and (n - 1) / n times the bytes of the whole array of an
all-gather or a reduce-scatter.

The TPU compiler writes some of them in its own way. An asynchronous collective is a pair
`-start` and `-done`, or several computations with the same channel. A reduce-scatter is a
computation `all-reduce-scatter` that all-reduces an array and slices it. A loop states its number
of iterations only in its condition. Slices exchange what their chips have summed by a `send` of
each chip.
"""

import functools
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(
    r" = (?P<type>.*?) "
    r"(?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|send)"
    r"(?P<start>-start)?\("
)
_ARRAY = re.compile(r"(pred|bf16|[a-z]+(\d+))\w*\[([\d,]*)\]")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_CALLED = re.compile(r"(?:to_apply|calls|body|true_computation|false_computation)=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CONDITION = re.compile(r" while\(.*condition=%?([\w.\-]+)")
_BOUND = re.compile(r" = s32\[\]\S* constant\((\d+)\)")
BETWEEN_SLICES = "send"
_FUSED_SCATTER = "all-reduce-scatter"
_ASYNCHRONOUS = "async_collective"
_CHANNEL = re.compile(r"channel_id=(\d+)")


class Collective(NamedTuple):
    """An instruction of a program that sends.

    Attributes:
      kind: Such as `"all-reduce"`, or `_FUSED_SCATTER`.
      arrays: The results: names of types, their bits and their shapes, as texts.
      line: The whole instruction.
      asynchronous: Whether other operations run at the same time.
    """

    kind: str
    arrays: list[tuple[str, str, str]]
    line: str
    asynchronous: bool


def bytes_sent(program: str, devices: int) -> Counter[str]:
    """Sum the bytes that each device sends by collective, such as `"all-reduce"`.

    The body of a loop counts once per iteration if XLA knows the trip count. For a conditional, the
    branch that sends the most bytes counts. `jax.stages.Compiled.as_text` returns the program.
    """
    return _summed(program, lambda found: _bytes_of(found, devices))


def number_of_collectives(program: str, *, asynchronous: bool = False) -> Counter[str]:
    """Count the collectives of a step by kind, or only those that overlap with other operations.

    For loops and conditionals, see `bytes_sent`.
    """
    return _summed(program, lambda found: int(found.asynchronous or not asynchronous))


def _summed(program: str, value: Callable[[Collective], int]) -> Counter[str]:
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    entry = ""
    for line in program.splitlines():
        if match := _COMPUTATION.match(line):
            lines = computations[match[1]] = []
            entry = match[1] if line.startswith("ENTRY") else entry
        else:
            lines.append(line)

    @functools.cache
    def summed(name: str) -> dict[tuple[str, str], int]:
        """Sum by kind and channel. Parts of an asynchronous collective have the same channel."""
        total: Counter[tuple[str, str]] = Counter()
        for line in computations[name]:
            if found := _collective(name, line):
                channel = _CHANNEL.search(line)
                key = found.kind, channel[1] if channel else line
                total[key] = max(total[key], value(found))
                continue
            called = [summed(each) for each in _CALLED.findall(line)]
            if branches := _BRANCHES.search(line):
                names = [each.strip().lstrip("%") for each in branches[1].split(",")]
                called.append(max(map(summed, names), key=lambda sums: sum(sums.values())))
            trips = _trips(line, computations) if any(called) else 1
            for sums in called:
                for key, count in sums.items():
                    total[key] = max(total[key], count * trips)
        return total

    by_kind: Counter[str] = Counter()
    for (kind, _), count in summed(entry).items():
        by_kind["reduce-scatter" if kind == _FUSED_SCATTER else kind] += count
    return +by_kind


def _collective(computation: str, line: str) -> Collective | None:
    """Return the collective in a line of a computation, if it is one."""
    match = _COLLECTIVE.search(line)
    if not match:
        return None
    arrays, kind = _ARRAY.findall(match["type"]), match["kind"]
    if match["start"] and kind != "all-reduce":
        arrays = arrays[1:2]  # the type of the pair is (operand, result, ...)
    if kind == BETWEEN_SLICES:
        arrays = arrays[:1]  # the type is (operand, context, token)
    if computation.startswith(_FUSED_SCATTER):
        kind = _FUSED_SCATTER
    overlaps = bool(match["start"]) or computation.startswith(_ASYNCHRONOUS)
    return Collective(kind, arrays, line, overlaps)


def _trips(line: str, computations: dict[str, list[str]]) -> int:
    """Return how often the instruction of a line runs what it calls; 1 if that is unknown."""
    if known := _TRIPS.search(line):
        return int(known[1])
    if condition := _CONDITION.search(line):
        bounds = [_BOUND.search(each) for each in computations[condition[1]]]
        return max((int(bound[1]) for bound in bounds if bound), default=1)
    return 1


def _bytes_of(found: Collective, devices: int) -> int:
    size = 0
    for name, bits, shape in found.arrays:
        width = {"pred": 1, "bf16": 2}.get(name) or max(int(bits) // 8, 1)
        size += width * math.prod(int(number) for number in shape.split(",") if number)
    n = _group_size(found.line, devices)
    shares = {
        "all-reduce": 2 * (n - 1) / n,
        "all-gather": (n - 1) / n,
        "reduce-scatter": n - 1,  # the text states the type of the shard
        _FUSED_SCATTER: (n - 1) / n,
        "all-to-all": (n - 1) / n,
        "collective-permute": 1,
        BETWEEN_SLICES: 1,
    }
    return round(shares[found.kind] * size)


def _group_size(line: str, devices: int) -> int:
    """Return the size of the device groups, which XLA writes in three ways."""
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line):
        sizes = {axis: int(size) for axis, size in re.findall(r"'(\w+)'=(\d+)", match[1])}
        # A group may be part of an axis: 'axis_0':(2)4 are 4 of its devices.
        axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", match[2])
        return math.prod(int(part) if part else sizes[axis] for axis, part in axes)
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(match[1])
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return match[1].count(",") + 1
    return devices
