"""The progress display of training: a bar on a terminal, occasional lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

import rich.progress
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

from netzoo.console import is_terminal
from netzoo.errors import printable

_PLAIN_SECONDS = 10.0
_WAITING_SECONDS = 60.0

Item = TypeVar("Item")


def format_metric(value: float | None, digits: int = 4) -> str:
    """Format a metric for display; None represents a non-finite value."""
    return "not finite" if value is None else f"{value:.{digits}f}"


def track(
    items: Iterable[Item], description: str, console: Console | None = None
) -> Iterable[Item]:
    """Return `items`, and draw a bar during iteration if standard error is a terminal."""
    console = console or Console(stderr=True)
    if not is_terminal(console):
        return items  # rich would start a thread for a hidden bar too
    shown = escape(printable(description))
    return rich.progress.track(items, shown, console=console, transient=True)


@contextlib.contextmanager
def byte_bar(
    description: str, total: int | None, completed: int
) -> Iterator[Callable[[int], None]]:
    """Draw a bar of bytes if standard error is a terminal; yield a function that adds bytes."""
    columns = (*rich.progress.Progress.get_default_columns(), DownloadColumn())
    console = Console(stderr=True)
    with rich.progress.Progress(
        *columns, console=console, disable=not is_terminal(console)
    ) as progress:
        bar = progress.add_task(escape(printable(description)), total=total, completed=completed)
        yield lambda count: progress.advance(bar, count)


@contextlib.contextmanager
def waiting(
    description: str,
    expectation: str,
    *,
    console: Console | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[], None]]:
    """Show that work of unknown length goes on, on standard error; yield a function to call often.

    A terminal shows one line with the elapsed time. Other outputs get one line at the start, which
    says what to expect, and then one line a minute.
    """
    console = console or Console(stderr=True)
    terminal, began = is_terminal(console), clock()
    shown, description = began, printable(description)
    text = TextColumn("{task.description}", markup=False)
    columns = (rich.progress.SpinnerColumn(), text, rich.progress.TimeElapsedColumn())
    bar = rich.progress.Progress(*columns, console=console, transient=True, disable=not terminal)
    bar.add_task(f"{description}; {expectation}", total=None)
    if not terminal:
        console.out(f"{description}; {expectation}", highlight=False)

    def still() -> None:
        nonlocal shown
        if not terminal and clock() - shown >= _WAITING_SECONDS:
            shown = clock()
            elapsed = timedelta(seconds=round(shown - began))
            console.out(f"{description}: {elapsed} elapsed", highlight=False)

    with bar:
        yield still


class Progress:
    """Shows the progress and the speed of a run, and whether it waits for data.

    On a terminal, it is a bar. Otherwise (in a file, a pipe or a batch job) it is at most one line
    every ten seconds, and one for the last step.
    """

    def __init__(
        self,
        total_steps: int,
        start_step: int,
        description: str,
        unit: str,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the display, which appears on entering the context.

        `start_step` is above 0 in a continued run. `description` is a short text, e.g. the model
        name. `unit` is the unit of the rate, e.g. "images". `clock` returns seconds.
        """
        self._total, self._start, self._description = (
            total_steps,
            start_step,
            printable(description),
        )
        self._unit, self._clock = unit, clock
        self._console = console or Console()
        self._terminal = is_terminal(self._console)
        self._bar = rich.progress.Progress(
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[facts]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            expand=True,
            # Updates come once per logging interval, too rarely for the default of half a minute.
            speed_estimate_period=600,
            disable=not self._terminal,
        )
        self._row = self._bar.add_task(
            self._description, total=total_steps, completed=start_step, facts="compiling"
        )

    def __enter__(self) -> Progress:
        self._began = self._shown_at = self._clock()
        self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.stop()

    def update(
        self, step: int, *, epoch: float, rate: float, loss: float, data_wait: float
    ) -> None:
        """Show the state after `step` (at least 1).

        `epoch` is fractional. `rate` is in units per second over all devices. `data_wait` is the
        share of time spent waiting for input, 0 to 1.
        """
        facts = (
            f"epoch {epoch:.1f}/{epoch * self._total / step:.4g}  "
            f"loss {loss:.4f}  {rate:,.0f} {self._unit}/s  data wait {data_wait:.0%}"
        )
        self._bar.update(self._row, completed=step, facts=facts)
        now = self._clock()
        if self._terminal or (step < self._total and now - self._shown_at < _PLAIN_SECONDS):
            return
        self._shown_at = now
        left = (now - self._began) * (self._total - step) / max(step - self._start, 1)
        ending = f"  {timedelta(seconds=round(left))} left" if step < self._total else ""
        self.message(f"{self._description}  step {step}/{self._total}  {facts}{ending}")

    def message(self, text: str) -> None:
        """Print `text` on its own line, above the bar if there is one."""
        # Not `print`, which would parse a tensor shape such as [32, 224] as a style.
        self._console.out(printable(text, keep="\n"), highlight=False)
