"""The configuration of runs of several processes, which log their training examples.

    python train.py --config tests/training/noted_run.py:SIGTERM --workdir RUN

For each training batch, every process adds a line to `rows{PROCESS}.txt` in the run folder. At the
end, it prints how often the step and the evaluation were compiled.
"""

import os
import signal

import jax
from ml_collections import ConfigDict

from netzoo.cli import join
from netzoo.training.loop import TrainingLoop
from tests.conftest import tiny_translation_config

STOPPED_AT = 6


def get_config(stopped_by: str = "") -> ConfigDict:
    """Return the configuration, and make the process log its examples.

    Args:
      stopped_by: The name of a signal. Process 1 gets it after the metrics of step `STOPPED_AT`
        were read, while the next step computes. Missing heartbeats are then noticed after 4
        seconds.
    """
    _take_notes()
    if stopped_by:
        join.HEARTBEAT_TIMEOUT_SECONDS = 4
        _stop(getattr(signal, stopped_by))
    # All batches have one shape, so that less is compiled. The biases of keys are frozen: softmax
    # does not change when a number is added to all scores of a query, so their true gradient is 0,
    # and Adam would turn its rounding into steps. Epsilon prevents the same for small gradients.
    config = tiny_translation_config()
    config.data.lengths = (16,)
    config.optimizer.epsilon = 1e-3
    config.optimizer.lr_mults = ((r".*/key/bias", 0.0), (r".*", 1.0))
    config.evaluation.every_epochs = 1  # steps 15 and 20 save the newest and the best at once
    config.sharding.min_size = 64
    return config


def _take_notes() -> None:
    run = TrainingLoop.run

    def noted_run(self, *arguments):
        put, rows = self.put, self.workdir / f"rows{jax.process_index()}.txt"

        def put_and_note(batch):
            if "mask" not in batch:  # as those of evaluations have
                with rows.open("a") as file:
                    print(batch["source"].tolist(), file=file)
            return put(batch)

        self.put = put_and_note
        run(self, *arguments)
        print("compiled", self.train_step._cache_size(), self.eval_step._cache_size())

    TrainingLoop.run = noted_run


def _stop(number: int) -> None:
    finish_step = TrainingLoop.finish_step

    def finish_and_stop(self, at, *rest):
        finish_step(self, at, *rest)
        if at == STOPPED_AT and jax.process_index() == 1:
            os.kill(os.getpid(), number)

    TrainingLoop.finish_step = finish_and_stop
