"""Runs a tiny training that stops itself by a signal; started as a process by tests.

python -m tests.training.stopped_run DATA WORKDIR STEP SIGNAL

DATA is a folder of pictures, or `number_words` for translation.

The process sends itself SIGNAL (a name; NONE for no signal) after the metrics of STEP were read,
while the next step computes, in the middle of an epoch. In the loop, implicit transfers to a device
are errors.
"""

import os
import signal
import sys

import jax

from netzoo.errors import UserError
from netzoo.training.loop import TrainingLoop, train
from tests.conftest import tiny_config, tiny_translation_config


def main(data: str, workdir: str, step: str, name: str) -> int:
    """Train; return the exit status of the loop."""
    run, finish_step = TrainingLoop.run, TrainingLoop.finish_step

    def guarded_run(*arguments):
        with jax.transfer_guard("disallow"):
            run(*arguments)

    def finish_and_stop(self, at, *rest):
        finish_step(self, at, *rest)
        if at == int(step):
            os.kill(os.getpid(), getattr(signal, name))

    TrainingLoop.run = guarded_run
    if name != "NONE":
        TrainingLoop.finish_step = finish_and_stop
    config = tiny_translation_config() if data == "number_words" else tiny_config(data)
    try:
        return train(config, workdir)
    except UserError as error:
        print(f"error: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
