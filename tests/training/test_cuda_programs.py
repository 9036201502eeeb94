"""Training steps for a GPU: the programs that XLA's CUDA compiler gets.

The steps are lowered on a CPU, without a GPU and without its plugin.
"""

import re

import jax
import pytest
from jax.sharding import AbstractMesh

from netzoo import kernels
from netzoo import mesh as meshes
from netzoo.config import default_config
from netzoo.config.tasks import task_module
from netzoo.tasks import create_task, resolve_config
from netzoo.training.step import build_train_program
from tests.conftest import fast_only, tiny_translation_config

# One network of every family, and pixels of its images.
FAMILIES = {
    "alexnet": 64,
    "vgg11_bn": 32,
    "googlenet_bn": 32,
    "mobilenet_v1_025": 32,
    "mobilenet_v2_035": 32,
    "mobilenet_v3_small_075": 32,
    "resnet18": 32,
    "vit_ti16": 32,
    "r_ti16": 32,
}


def image_task(name):
    config = default_config()
    config.model = {"name": name, "dtype": "bfloat16"}
    config.data.image_size = FAMILIES[name]
    config.train.batch_size = 8
    config.train.ema_decay = 0.9
    config.augment.mixup = 0.2
    config = resolve_config(config, open_data=False)
    task, batch = task_module(config.task, "task").task_class(config).without_data(config, 5)
    return config, task, batch


def translation_task():
    config = tiny_translation_config()
    config.model.dtype = "bfloat16"
    config = resolve_config(config)
    task = create_task(config)
    return config, task, next(task.train_iterator())


def lowered(config, task, batch):
    """Return the training step for one GPU as StableHLO, and the number of arrays of its state."""
    mesh = AbstractMesh((1, 1), (meshes.DATA, meshes.FSDP), axis_types=meshes.AXIS_TYPES)
    with kernels.use_backend("native"):
        program = build_train_program(config, task, mesh)
        traced = program.step.trace(program.state, batch, task.constants)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    return text, len(jax.tree.leaves(program.state))


@pytest.mark.parametrize("name", fast_only([*FAMILIES, "transformer"], ("resnet18",)))
def test_steps_for_a_gpu(name):
    """XLA's CUDA compiler gets plain operations, for which it chooses cuDNN, cuBLAS or a fusion.

    The program has no branch, custom call, callback or float64. The new state overwrites every
    array of the old one.
    """
    task = translation_task() if name == "transformer" else image_task(name)
    text, arrays = lowered(*task)
    assert "stablehlo.case" not in text and "custom_call" not in text
    assert not re.search(r"tensor<(\d+x)*f64>", text)
    assert "bf16" in text
    assert text.count("tf.aliasing_output") == arrays
