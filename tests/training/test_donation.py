"""The training step writes its new state over the old one, so that one state fits in memory."""

import math

import jax
import pytest

from netzoo.config import default_config
from netzoo.mesh import create_mesh
from netzoo.tasks import create_task, resolve_config
from netzoo.training.step import build_train_program
from tests.conftest import narrow_mobilenet_config, slow, tiny_translation_config
from tests.training.test_backends import BATCH
from tests.training.toy import ToyTask


def toy(pictures):
    """A state with all its parts: statistics, moments, average, counts of skipped steps."""
    del pictures
    config = default_config()
    config.update_from_flattened_dict({"train.ema_decay": 0.9, "train.on_nonfinite": "skip"})
    return build_train_program(config, ToyTask(), create_mesh()), BATCH


def of(config):
    """The program and a batch of a configuration."""
    task = create_task(resolve_config(config, training=True))
    return build_train_program(config, task, create_mesh()), next(task.train_iterator())


def images(pictures):
    return of(narrow_mobilenet_config(pictures))


def translation(pictures):
    del pictures
    return of(tiny_translation_config())


@pytest.mark.parametrize("program", [toy, slow(images), slow(translation)])
def test_the_state_is_aliased_to_the_last_byte(program, pictures):
    """Protects memory: a leaf that changes its type or sharding would silently be copied."""
    parts, batch = program(pictures)
    memory = parts.step.lower(parts.state, batch).compile().memory_analysis()
    state = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(parts.state))
    assert memory.alias_size_in_bytes == state
