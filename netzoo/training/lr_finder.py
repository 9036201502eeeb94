"""Searches for a learning rate by a short run whose rate grows until the loss diverges.

This is the range test of Smith (arXiv:1506.01186, section 3.3), with the exponential ramp, the
smoothed loss and the suggestions of fastai's and Lightning's learning-rate finders.
"""

import math
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from netzoo import mesh as meshes
from netzoo.errors import UserError
from netzoo.figures import BLUE, MUTED, RED, TEAL, new_figure, save
from netzoo.tasks.curves import dress
from netzoo.training.prepare import prepare_run
from netzoo.training.step import MUST_BE_FINITE, build_train_program

# Decay of the moving average of the loss. The search ends when this average exceeds DIVERGED times
# its minimum.
SMOOTHING, DIVERGED = 0.98, 4.0
# Steps at the start that cannot be the steepest, because their averages hold few losses.
_SKIPPED = 20
MIN_STEPS = 2 * _SKIPPED


class Search(NamedTuple):
    """What a search measured, in arrays with one value for each step."""

    rates: np.ndarray  # learning rates
    losses: np.ndarray  # training losses of single batches
    smoothed: np.ndarray  # their moving average, without bias towards 0
    diverged: bool  # whether the search ended before its last step

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest, over the logarithm of the rate.

        Only rates before the lowest loss count; after it, the losses of single batches vary widely.
        """
        slopes = np.gradient(self.smoothed, np.log(self.rates))
        fastest = slopes[_SKIPPED : self.smoothed.argmin()].argmin()
        return float(self.rates[_SKIPPED + fastest])

    @property
    def tenth_of_minimum(self) -> float:
        """A tenth of the rate with the lowest smoothed loss."""
        return float(self.rates[self.smoothed.argmin()]) / 10


def ramp(low: float, high: float, steps: int) -> optax.Schedule:
    """Return a rate that grows by equal factors, from `low` at the first of `steps` to `high`."""
    ratio = math.log(high / low)
    return lambda step: low * jnp.exp(ratio * step / (steps - 1))


def search(
    config: ConfigDict,
    low: float,
    high: float,
    steps: int,
    show: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Search:
    """Train from the start of a run with a growing rate, until the smoothed loss diverges.

    The batches, the network, the loss and the optimizer are those of the run; only the schedule
    differs. Nothing is evaluated or saved.

    Args:
      config: The configuration of the run.
      low: The learning rate of the first step.
      high: The learning rate of the last step.
      steps: The number of steps.
      show: Wraps the steps, for a progress bar.

    Raises:
      UserError: The configuration or the data is invalid, the loss diverges before enough steps for
        a suggestion, or it never falls.
    """
    config, task, mesh, _ = prepare_run(config, None)
    pretrained = task.pretrained_variables()
    ramped = ConfigDict(config)
    ramped.schedule.name = "constant"  # because "plateau" would change the rate of the ramp
    program = build_train_program(ramped, task, mesh, pretrained, ramp(low, high, steps))
    state, put = program.init(pretrained), meshes.batch_placer(mesh)
    train_step = program.step_of(task, mesh)
    iterator, rows, average = task.train_iterator(), [], 0.0
    diverged = False
    for step in show(range(1, steps + 1)):
        state, metrics = train_step(state, put(next(iterator)))
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not np.isfinite([values[n] for n in MUST_BE_FINITE if n in values]).all():
            diverged = True
            break
        average = SMOOTHING * average + (1 - SMOOTHING) * values["loss"]
        rows.append((values["learning_rate"], values["loss"], average / (1 - SMOOTHING**step)))
        if rows[-1][2] > DIVERGED * min(smoothed for _, _, smoothed in rows):
            diverged = True
            break
    if len(rows) < MIN_STEPS:
        raise UserError(
            f"the loss diverges after {len(rows)} steps, at the learning rate "
            f"{rows[-1][0] if rows else low:.3g}; expected at least {MIN_STEPS} steps. Lower --low"
        )
    rates, losses, smoothed = np.array(rows).T
    found = Search(rates, losses, smoothed, diverged)
    if found.smoothed.argmin() <= _SKIPPED:
        raise UserError(
            f"the smoothed loss is lowest within the first {_SKIPPED} steps and suggests no rate. "
            "Lower --low if it grows from the start, or take more --steps if it only varies"
        )
    return found


def draw(found: Search, path: str | os.PathLike[str], title: str) -> None:
    """Draw the loss over the learning rate as a figure, with both suggestions."""
    figure = new_figure(7, 4, title)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.plot(found.rates, found.losses, color=MUTED, alpha=0.35, linewidth=0.8)
    axes.plot(found.rates, found.smoothed, color=BLUE, linewidth=1.6, label="smoothed loss")
    for rate, color, name in (
        (found.steepest, TEAL, "steepest descent"),
        (found.tenth_of_minimum, RED, "a tenth of the minimum"),
    ):
        axes.axvline(rate, color=color, linewidth=1.2, label=f"{name}: {rate:.2g}")
    # The divergence would flatten the rest of the curve.
    low, high = found.smoothed.min(), found.smoothed[: found.smoothed.argmin() + 1].max()
    axes.set_ylim(low - 0.2 * (high - low), high + 0.4 * (high - low))
    axes.legend(frameon=False, fontsize=8.5, labelcolor="linecolor", loc="lower left")
    dress(axes, "Training loss", "learning rate")
    save(figure, path)
