"""What a person sees while a run trains: a bar on a terminal, sparse plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypeVar

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

_PLAIN_SECONDS = 10.0

Item = TypeVar("Item")


def format_metric(value: float | None, digits: int = 4) -> str:
    """Returns a metric for people to read; None stands for a value that is not finite."""
    return "not finite" if value is None else f"{value:.{digits}f}"


def track(
    items: Iterable[Item], description: str, console: Console | None = None
) -> Iterable[Item]:
    """Returns `items`, whose iteration draws a bar on a terminal, and nothing elsewhere."""
    console = console or Console()
    hidden = not _is_terminal(console)
    return rich.progress.track(items, description, console=console, transient=True, disable=hidden)


class Progress:
    """Shows how far a run is, how fast it goes, and whether it waits for data.

    A bar where standard output is a terminal; otherwise (a file, a pipe, a batch job) one line at
    most every ten seconds, and one for the last step.
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
        """Prepares the display; it appears on entering the context.

        `start_step` is above zero in a resumed run. `description` is a few words, say the model's
        name; `unit` is what the rate counts, say "images". `clock` gives seconds.
        """
        self._total, self._start, self._description = total_steps, start_step, description
        self._unit, self._clock = unit, clock
        self._console = console or Console()
        self._terminal = _is_terminal(self._console)
        self._bar = rich.progress.Progress(
            TextColumn("{task.description}", style="bold"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=self._console,
            expand=True,
            # Updates come once per logging interval, too rare for the usual half minute.
            speed_estimate_period=600,
            disable=not self._terminal,
        )
        self._row = self._bar.add_task(
            description, total=total_steps, completed=start_step, facts="compiling"
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
        """Shows the state after `step`, which is at least 1.

        `epoch` has a fraction, from which the number of epochs follows. `rate` is in units a second
        over all devices, `data_wait` the share of time spent waiting for input, 0 to 1.
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
        """Prints `text` on a line of its own, above the bar where there is one."""
        # Not `print`: a tensor shape such as [32, 224] is text, not a style.
        self._console.out(text, highlight=False)


def _is_terminal(console: Console) -> bool:
    # `file.isatty` and not `is_terminal` alone: variables such as FORCE_COLOR set the latter, and
    # a log file full of redrawn bars is of no use.
    return console.is_interactive and console.file.isatty()
