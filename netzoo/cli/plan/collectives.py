"""Counts the bytes that each device sends, from the text of a compiled program.

Collectives are assumed to run around a ring of n devices. Each device then sends 2 (n - 1) / n
times the bytes of an all-reduce, and (n - 1) / n times the bytes of the whole array of an
all-gather or a reduce-scatter.
"""

import math
import re
from collections import Counter

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(
    r" = (?P<type>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"\("
)
_ARRAY = re.compile(r"(pred|bf16|[a-z]+(\d+))\w*\[([\d,]*)\]")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_CALLED = re.compile(r"(?:to_apply|calls|body|true_computation|false_computation)=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


def bytes_sent(program: str, devices: int) -> Counter[str]:
    """Sum the bytes that each device sends by collective, such as `"all-reduce"`.

    The body of a loop counts once per iteration if XLA knows the trip count. For a conditional, the
    branch that sends the most bytes counts. `jax.stages.Compiled.as_text` returns the program.
    """
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    entry = ""
    for line in program.splitlines():
        if match := _COMPUTATION.match(line):
            lines = computations[match[1]] = []
            entry = match[1] if line.startswith("ENTRY") else entry
        else:
            lines.append(line)
    return _sent_by(entry, computations, devices)


def _sent_by(name: str, computations: dict[str, list[str]], devices: int) -> Counter[str]:
    total: Counter[str] = Counter()
    for line in computations[name]:
        if match := _COLLECTIVE.search(line):
            total[match["kind"]] += _bytes_of(match["kind"], match["type"], line, devices)
            continue
        called = [_sent_by(each, computations, devices) for each in _CALLED.findall(line)]
        if branches := _BRANCHES.search(line):
            names = [each.strip().lstrip("%") for each in branches[1].split(",")]
            sent = [_sent_by(each, computations, devices) for each in names]
            called.append(max(sent, key=lambda counts: counts.total()))
        trips = _TRIPS.search(line)
        for counts in called:
            for kind, count in counts.items():
                total[kind] += count * int(trips[1] if trips else 1)
    return total


def _bytes_of(kind: str, types: str, line: str, devices: int) -> int:
    size = 0
    for name, bits, shape in _ARRAY.findall(types):
        width = {"pred": 1, "bf16": 2}.get(name) or max(int(bits) // 8, 1)
        size += width * math.prod(int(number) for number in shape.split(",") if number)
    n = _group_size(line, devices)
    shares = {
        "all-reduce": 2 * (n - 1) / n,
        "all-gather": (n - 1) / n,
        "reduce-scatter": n - 1,  # the text states the type of the shard
        "all-to-all": (n - 1) / n,
        "collective-permute": 1,
    }
    return round(shares[kind] * size)


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
