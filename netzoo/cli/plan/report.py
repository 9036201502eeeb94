"""Prints and draws plans for accelerators."""

import os
from collections.abc import Sequence

from matplotlib.axes import Axes

from netzoo.cli.plan.roofline import Plan
from netzoo.console import print_table
from netzoo.figures import BLUE, FAINT, INK, MUTED, RED, SKY, TEAL, new_figure, save

_GIB = 2**30
_TIMES = {"compute": BLUE, "memory": TEAL, "communication": RED}
_PARTS = {
    "all": FAINT,
    "arguments": BLUE,
    "temporaries": SKY,
    "code": MUTED,
    "state": BLUE,
    "refused": RED,
}
_FITS = {True: "yes", False: "no", None: "not compiled"}
_UNKNOWN = "-"


def print_plans(plans: Sequence[Plan], title: str) -> None:
    """Print a table with a column for each plan."""
    columns = [_column(each) for each in plans]
    head = ("", *(each.target for each in plans))
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    rows = [row for row in rows if {*row[1:]} != {_UNKNOWN}]
    print_table(
        head,
        rows,
        right=head[1:],
        title=title,
        caption="sizes and operations are per chip and step; times are lower bounds",
    )


def _column(plan: Plan) -> dict[str, str]:
    step = f"{_milliseconds(plan.step_seconds)} ({plan.bound})" if plan.bound else _UNKNOWN
    return {
        "chips": f"{plan.chips:,}",
        "batch": f"{plan.rows:,}",
        "batch of a chip": f"{plan.rows // plan.chips:,}",
        "fits": _FITS[plan.fits],
        "memory of the chip, GiB": _scaled(plan.hbm, _GIB, 2),
        "in use during a step, GiB": _scaled(plan.used, _GIB, 2),
        "- arguments: state and batch": _scaled(plan.arguments, _GIB, 2),
        "- temporaries": _scaled(plan.temporaries, _GIB, 2),
        "- output": _scaled(plan.output, _GIB, 2),
        "- of it in place of arguments": _scaled(plan.alias, _GIB, 2),
        "- code": _scaled(plan.code, _GIB, 2),
        "peak of arrays by XLA, GiB": _scaled(plan.peak, _GIB, 2),
        "state between steps, GiB": _scaled(plan.state, _GIB, 2),
        "products, GFLOP": _scaled(plan.flops, 1e9, 1),
        "memory traffic, GB": _scaled(plan.bytes, 1e9, 2),
        "sent, MiB": _scaled(plan.sent, 2**20, 1),
        "collectives": plan.collectives or _UNKNOWN,
        "compute, ms": _milliseconds(plan.compute_seconds),
        "memory, ms": _milliseconds(plan.memory_seconds),
        "communication, ms": _milliseconds(plan.sending_seconds),
        "step, ms, at least": step,
        f"{plan.unit}/s, at most": _scaled(plan.per_second, 1, 0),
        "hours of the run, at least": _three_digits(plan.hours),
        "chip-hours of the run, at least": _three_digits(plan.chip_hours),
        "compiled in, s": _three_digits(plan.compile_seconds),
    }


def _scaled(value: float | None, unit: float, digits: int) -> str:
    return _UNKNOWN if value is None else f"{value / unit:,.{digits}f}"


def _milliseconds(seconds: float | None) -> str:
    return _three_digits(None if seconds is None else 1e3 * seconds)


def _three_digits(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def draw_plans(plans: Sequence[Plan], path: str | os.PathLike[str], title: str) -> None:
    """Draw the memory by kind against that of the chip, and the three times of the roofline."""
    figure = new_figure(10, 2 + 0.7 * len(plans), title)
    memory, times = figure.subplots(1, 2)
    names = [f"{each.target}\n{each.rows // each.chips:,} a chip" for each in plans]
    _draw_memory(memory, plans)
    for row, each in enumerate(plans):
        seconds = (each.compute_seconds, each.memory_seconds, each.sending_seconds)
        for place, (name, value) in enumerate(zip(_TIMES, seconds, strict=True)):
            options = {"color": _TIMES[name], "label": None if row else name}
            times.barh(row + 0.25 * (place - 1), 1e3 * (value or 0), height=0.22, **options)
    titles = {memory: "Memory of a chip, GiB", times: "Least time of a step, ms"}
    for axes, text in titles.items():
        axes.set_title(text, color=INK, fontsize=10, loc="left")
        axes.set_yticks(range(len(plans)), names if axes is memory else [""] * len(plans))
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.spines[["top", "right"]].set_visible(False)
        below = -0.5 / (0.7 * len(plans) + 0.5)
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper left", bbox_to_anchor=(0, below))
    save(figure, path)


def _draw_memory(axes: Axes, plans: Sequence[Plan]) -> None:
    """Draw what a step needs; where the parts are unknown, its sum in red or the state."""
    for row, each in enumerate(plans):
        shown: dict[str, int | None] = {"all": each.hbm, "state": each.state}
        if each.fits:
            shown = {"all": each.hbm, "arguments": each.arguments, "code": each.code}
            shown["temporaries"] = each.temporaries
        elif each.used:
            shown = {"all": each.hbm, "refused": each.used}
        left = 0.0
        for name, size in shown.items():
            width, thick = (size or 0) / _GIB, name == "all"
            axes.barh(row, width, 0.8 if thick else 0.5, 0 if thick else left, color=_PARTS[name])
            left += 0 if thick else width
    for name, color in _PARTS.items():
        axes.barh(0, 0, color=color, label=name)
