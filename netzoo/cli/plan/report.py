"""Prints and draws plans for accelerators."""

import os
from collections.abc import Sequence

from netzoo.cli.plan.roofline import Plan
from netzoo.console import print_table
from netzoo.figures import BLUE, FAINT, INK, MUTED, RED, SKY, TEAL, new_figure, save

_GIB = 2**30
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
    return {
        "chips": f"{plan.chips:,}",
        "batch": f"{plan.rows:,}",
        "batch of a chip": f"{plan.rows // plan.chips:,}",
        "fits": _FITS[plan.fits],
        "memory of the chip, GiB": _size(plan.hbm),
        "in use during a step, GiB": _size(plan.used),
        "- arguments: state and batch": _size(plan.arguments),
        "- temporaries": _size(plan.temporaries),
        "- output": _size(plan.output),
        "- of it in place of arguments": _size(plan.alias),
        "- code": _size(plan.code),
        "peak of arrays by XLA, GiB": _size(plan.peak),
        "state between steps, GiB": _size(plan.state),
        "products, GFLOP": f"{plan.flops / 1e9:,.1f}",
        "memory traffic, GB": f"{plan.bytes / 1e9:,.2f}",
        "sent, MiB": f"{plan.sent / 2**20:,.1f}",
        "collectives": plan.collectives,
        "compute, ms": _milliseconds(plan.compute_seconds),
        "memory, ms": _milliseconds(plan.memory_seconds),
        "communication, ms": _milliseconds(plan.sending_seconds),
        "step, ms, at least": f"{_milliseconds(plan.step_seconds)} ({plan.bound})",
        f"{plan.unit}/s, at most": f"{plan.per_second:,.0f}",
        "hours of the run, at least": _hours(plan.hours),
        "chip-hours of the run, at least": _hours(plan.chip_hours),
        "compiled in, s": _UNKNOWN
        if plan.compile_seconds is None
        else f"{plan.compile_seconds:,.0f}",
    }


def _size(count: int | None) -> str:
    return _UNKNOWN if count is None else f"{count / _GIB:,.2f}"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.2f}"


def _hours(hours: float | None) -> str:
    return _UNKNOWN if hours is None else f"{hours:,.2f}"


def draw_plans(plans: Sequence[Plan], path: str | os.PathLike[str], title: str) -> None:
    """Draw the memory by kind against that of the chip, and the three times of the roofline."""
    figure = new_figure(10, 1.6 + 0.7 * len(plans), title)
    memory, times = figure.subplots(1, 2)
    names = [f"{each.target}\n{each.rows // each.chips:,} a chip" for each in plans]
    for row, each in enumerate(plans):
        memory.barh(row, each.hbm / _GIB, color=FAINT, height=0.8)
        if each.temporaries is None:
            used = each.used or each.state
            memory.barh(row, used / _GIB, color=RED if each.fits is False else BLUE, height=0.5)
            continue
        parts = (each.arguments or 0, each.temporaries, each.code or 0)
        left = 0.0
        for size, color in zip(parts, (BLUE, SKY, MUTED), strict=True):
            memory.barh(row, size / _GIB, left=left, color=color, height=0.5)
            left += size / _GIB
    for row, each in enumerate(plans):
        seconds = (each.compute_seconds, each.memory_seconds, each.sending_seconds)
        for place, (value, color) in enumerate(zip(seconds, (BLUE, TEAL, RED), strict=True)):
            times.barh(row + 0.25 * (place - 1), 1e3 * value, color=color, height=0.22)
    titles = {
        memory: "Memory, GiB: arguments, temporaries, code (grey: all)",
        times: "Least time of a step, ms: compute, memory, communication",
    }
    for axes, text in titles.items():
        axes.set_title(text, color=INK, fontsize=9, loc="left")
        axes.set_yticks(range(len(plans)), names if axes is memory else [""] * len(plans))
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
