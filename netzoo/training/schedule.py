"""Creates learning-rate schedules by name."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from ml_collections import ConfigDict


def create_schedule(config: ConfigDict, steps_per_epoch: int) -> optax.Schedule:
    """Return the learning rate as a function of the step.

    The rate is linear from 0 over `warmup_epochs`, and then follows `schedule.name`. With a
    warm-up, the first step has the rate 0, as in optax and Hugging Face's libraries: it changes the
    running statistics and the state of the optimizer, but no parameter. The final rate is
    `final_factor` times the peak; it belongs to the step after the last one, as in optax.

    * `cosine`: half a cosine from the peak to the final rate (Loshchilov and Hutter,
      arXiv:1608.03983, without restarts).
    * `cosine_restarts`: the same in cycles, the first of which takes `cycle_epochs`. Each cycle is
      `cycle_factor` times as long as the one before it (arXiv:1608.03983, section 3: T_0, T_mult).
    * `onecycle`: half a cosine from the peak divided by `div_factor` up to the peak over the share
      `pct_start` of the run, then half a cosine down to the final rate (Smith and Topin,
      arXiv:1708.07120, in the two phases of fastai, PyTorch and optax).
    * `linear`: a line from the peak to the final rate.
    * `exponential`: a staircase, multiplied by `decay_rate` after every `decay_epochs`.
    * `inverse_sqrt`: proportional to the inverse square root of the step, from the peak at the end
      of the warm-up (Vaswani et al., arXiv:1706.03762, section 5.3).
    * `constant`.
    * `plateau`: constant here; `reduce_on_plateau` lowers it.

    During the last `cooldown_epochs`, the rate leaves the schedule and follows a line to the final
    rate. With `constant`, this is the trapezoid, also called warm-up, stable, decay (Hägele et al.,
    arXiv:2405.18392).
    """
    schedule, peak = config.schedule, config.optimizer.learning_rate
    warmup = round(warmup_epochs(config) * steps_per_epoch)
    total = config.train.epochs * steps_per_epoch
    rest, final = max(total - warmup, 1), peak * schedule.final_factor
    stair = round(schedule.decay_epochs * steps_per_epoch)
    knee = max(warmup, 1)
    main = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, rest, schedule.final_factor),
        "cosine_restarts": lambda: _cosine_restarts(config, rest, steps_per_epoch),
        # Boundaries and factors from each value to the next.
        "onecycle": lambda: optax.piecewise_interpolate_schedule(
            "cosine",
            peak / schedule.div_factor,
            {int(schedule.pct_start * rest): schedule.div_factor, rest: schedule.final_factor},
        ),
        "linear": lambda: optax.linear_schedule(peak, final, rest),
        "exponential": lambda: optax.exponential_decay(
            peak, max(stair, 1), schedule.decay_rate, staircase=True
        ),
        # optax counts the steps of joined schedules from their boundaries, also before them.
        "inverse_sqrt": lambda: lambda step: peak * (knee / (knee + jnp.maximum(step, 0))) ** 0.5,
        "constant": lambda: optax.constant_schedule(peak),
        "plateau": lambda: optax.constant_schedule(peak),
    }[schedule.name]()
    if warmup:
        main = optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])
    cooldown = round(cooldown_epochs(config) * steps_per_epoch)
    return _cool_down(main, total - cooldown, cooldown, final) if cooldown else main


def reduce_on_plateau(
    config: ConfigDict, optimizer: optax.GradientTransformation, steps_per_epoch: int
) -> optax.GradientTransformation:
    """Let the schedule `plateau` lower the learning rate; leave `optimizer` as it is for others.

    The mean training loss of an epoch is an improvement if it is more than 0.01 % lower than the
    best one. After `plateau_epochs` without improvement, the learning rate is multiplied by
    `plateau_factor`. The product of these factors never falls below `final_factor`. The state of
    the optimizer holds all that this depends on. The caller passes the loss to `update` as `value`.
    """
    schedule = config.schedule
    if schedule.name != "plateau":
        return optimizer
    plateau = optax.contrib.reduce_on_plateau(
        schedule.plateau_factor,
        schedule.plateau_epochs,
        accumulation_size=steps_per_epoch,
        min_scale=schedule.final_factor,
    )
    return optax.chain(optimizer, plateau)


def plateau_scale(opt_state: optax.OptState) -> jax.Array | None:
    """Return by what `reduce_on_plateau` multiplies the learning rate; None for other schedules."""
    last = opt_state[-1] if isinstance(opt_state, tuple) and opt_state else None
    return last.scale if isinstance(last, optax.contrib.ReduceLROnPlateauState) else None


def _cosine_restarts(config: ConfigDict, steps: int, steps_per_epoch: int) -> optax.Schedule:
    """Return half a cosine per cycle in a run of `steps` steps; the last cycle may be cut short."""
    edges = jnp.asarray(_cycles(config, steps, steps_per_epoch))

    def rate(step: jax.Array) -> jax.Array:
        cycle = jnp.clip(jnp.searchsorted(edges, step, side="right") - 1, 0, len(edges) - 2)
        start, end = edges[cycle], edges[cycle + 1]
        share = (1 + jnp.cos(jnp.pi * (step - start) / (end - start))) / 2
        final = config.schedule.final_factor
        return config.optimizer.learning_rate * (final + (1 - final) * share)

    return rate


def _cycles(config: ConfigDict, steps: int, steps_per_epoch: int) -> np.ndarray:
    """Return the first step of every cycle, and the end of the last cycle, as float32."""
    edges, length = [0.0], max(config.schedule.cycle_epochs * steps_per_epoch, 1.0)
    while round(edges[-1]) < steps:
        edges.append(edges[-1] + length)
        length *= config.schedule.cycle_factor
    return np.minimum(np.round(edges), 2.0**31).astype(np.float32)


def _cool_down(main: optax.Schedule, start: int, steps: int, final: float) -> optax.Schedule:
    """Return `main` until step `start`, then a linear change to `final` over `steps` steps."""

    def rate(step: jax.Array) -> jax.Array:
        share = jnp.clip((step - start) / steps, 0, 1)
        # From the value of `main` at `start`.
        return (1 - share) * main(jnp.minimum(step, start)) + share * final

    return rate


def warmup_epochs(config: ConfigDict) -> float:
    """Return `schedule.warmup_epochs`, or half of the run if the warm-up would fill the run."""
    wanted, epochs = config.schedule.warmup_epochs, config.train.epochs
    return wanted if wanted < epochs else epochs / 2


def cooldown_epochs(config: ConfigDict) -> float:
    """Return `schedule.cooldown_epochs`, or what the warm-up leaves of the run if that is less."""
    return min(config.schedule.cooldown_epochs, config.train.epochs - warmup_epochs(config))


def notes(config: ConfigDict, steps_per_epoch: int) -> list[str]:
    """Return lines for the user: what is shortened, and a last cycle that is not complete."""
    schedule, epochs, lines = config.schedule, config.train.epochs, []
    warmup, cooldown = warmup_epochs(config), cooldown_epochs(config)
    if warmup < schedule.warmup_epochs:
        lines.append(
            f"schedule.warmup_epochs is {schedule.warmup_epochs:g}, not shorter than the run; the "
            f"warm-up is shortened to half of the run, {warmup:g} epochs"
        )
    if cooldown < schedule.cooldown_epochs:
        lines.append(
            f"schedule.cooldown_epochs is {schedule.cooldown_epochs:g}, longer than the run after "
            f"the warm-up; the cool-down is shortened to {cooldown:g} epochs"
        )
    if schedule.name == "cosine_restarts" and not cooldown:
        first = round(warmup * steps_per_epoch)
        end = first + _cycles(config, epochs * steps_per_epoch - first, steps_per_epoch)[-1]
        if end != epochs * steps_per_epoch:
            lines.append(
                "the run ends inside a cycle of cosine_restarts, before the learning rate is low; "
                f"a cycle ends after {end / steps_per_epoch:g} epochs"
            )
    return lines
