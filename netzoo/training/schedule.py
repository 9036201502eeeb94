"""Creates learning-rate schedules by name."""

import optax
from ml_collections import ConfigDict


def create_schedule(config: ConfigDict, steps_per_epoch: int) -> optax.Schedule:
    """Return the learning rate as a function of the step.

    The rate is linear from 0 over `warmup_epochs`, and then follows `schedule.name`. With a
    warm-up, the first step has the rate 0, as in optax and Hugging Face's libraries: it changes the
    running statistics and the state of the optimizer, but no parameter.

    * `cosine`: half a cosine from the peak to 0 at the last step (Loshchilov and Hutter,
      arXiv:1608.03983, without restarts).
    * `exponential`: a staircase, multiplied by `decay_rate` after every `decay_epochs`.
    * `inverse_sqrt`: proportional to the inverse square root of the step, from the peak at the end
      of the warm-up (Vaswani et al., arXiv:1706.03762, section 5.3).
    * `constant`.
    """
    schedule, peak = config.schedule, config.optimizer.learning_rate
    warmup = round(warmup_epochs(config) * steps_per_epoch)
    rest = config.train.epochs * steps_per_epoch - warmup
    stair = round(schedule.decay_epochs * steps_per_epoch)
    knee = max(warmup, 1)
    main = {
        "cosine": optax.cosine_decay_schedule(peak, max(rest, 1)),
        "exponential": optax.exponential_decay(
            peak, max(stair, 1), schedule.decay_rate, staircase=True
        ),
        # optax counts the steps of joined schedules from their boundaries.
        "inverse_sqrt": lambda step: peak * (knee / (knee + step)) ** 0.5,
        "constant": optax.constant_schedule(peak),
    }[schedule.name]
    if warmup == 0:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])


def warmup_epochs(config: ConfigDict) -> float:
    """Return `schedule.warmup_epochs`, or half of the run if the warm-up would fill the run."""
    wanted, epochs = config.schedule.warmup_epochs, config.train.epochs
    return wanted if wanted < epochs else epochs / 2
