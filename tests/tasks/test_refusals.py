"""Conflicts with keys, data, devices or the network are errors before compilation."""

import inspect
import shutil

import jax
import jax.numpy as jnp
import pytest

from netzoo import mesh as meshes
from netzoo.config import CONFIG_FILE, validate
from netzoo.config.table import task_table
from netzoo.config.tasks import TASKS
from netzoo.errors import UserError
from netzoo.models import list_models
from netzoo.models.registry import model_entry
from netzoo.tasks import create_task, resolve_config
from netzoo.training import train
from netzoo.training.optimizer import create_optimizer
from netzoo.training.schedule import create_schedule
from netzoo.training.sharding import parameter_shardings
from netzoo.training.step import build_train_program
from tests.conftest import narrow_mobilenet_config, tiny_config, tiny_translation_config


def test_every_option_of_every_network_has_a_rule():
    """Protects new options; `dtype` and `name` are keys."""
    for name in list_models():
        task = [*TASKS][name.startswith("transformer")]
        options = {*inspect.signature(model_entry(name).factory).parameters}
        assert options - {"dtype", "name", "parent"} <= {*task_table(task).options}, name


def _network(config):
    task = create_task(config)
    jax.eval_shape(task.init, jax.random.key(0))


def _factors(config):
    params = {"dense": {"kernel": jnp.ones((2, 3))}}
    create_optimizer(config, create_schedule(config, 1), params)


def _sharding(config):
    mesh = meshes.create_mesh(config.sharding.fsdp, jax.devices()[:1])
    parameter_shardings(config, {"dense": {"kernel": jnp.ones((2, 3))}}, mesh)


# What only data, devices or the network can tell, and who says it; nothing is compiled.
@pytest.mark.parametrize(
    ("values", "refuse", "message"),
    [
        ({"model.name": "mobilnet_v2"}, resolve_config, "unknown model 'mobilnet_v2'; did you"),
        ({"model.name": "resnet18"}, resolve_config, "unknown option of resnet18 'width_"),
        ({"init.weights": "resnet18.tv_in1k"}, resolve_config, "model.name is mobilenet_v1"),
        ({"init.weights": "nowhere"}, lambda c: create_task(c).pretrained_variables(), "nowhere"),
        ({"data.source": "folder:nowhere"}, create_task, "nowhere is not a folder"),
        ({"data.source": "flowers"}, create_task, "Unknown source 'flowers'"),
        ({"data.train_split": "trian"}, create_task, "Cannot read split 'trian'"),
        (
            {"train.batch_size": 60, "train.grad_accum_steps": 60},
            create_task,
            "train.grad_accum_steps is 60, and folder:.* train has only 40 examples",
        ),
        ({"data.image_size": 16}, _network, "images are 16x16 pixels; MobileNetV1 .* least 32x32"),
        ({"optimizer.name": "adam"}, _factors, "unknown optimizer 'adam'; did you mean adamw"),
        ({"augment.custom": "x"}, lambda c: create_task(c).train_iterator(), "augmentation 'x'"),
        ({"optimizer.lr_mults": (("x", 1.0), (".*", 0.0))}, _factors, "lr_mults: 'x' matches no"),
        ({"optimizer.weight_decay_mults": (("d.*/bias", 1.0),)}, _factors, "weight_decay_mul"),
        ({"sharding.parameters": (("x", None), (".*", 0))}, _sharding, "sharding.parameters: 'x'"),
        ({"sharding.fsdp": 3}, _sharding, "sharding.fsdp is 3, which does not divide the 1 dev"),
        (
            {"train.batch_size": 7, "sharding.fsdp": 1},
            lambda c: meshes.check_divisible(_Devices(2), **create_task(c).batch_sizes()),
            "train.batch_size / train.grad_accum_steps is 7, which 2 devices cannot divide",
        ),
    ],
)
def test_what_others_refuse(values, refuse, message, pictures):
    """Protects the rules that need the data, the devices or the network."""
    config = narrow_mobilenet_config(pictures)
    config.update_from_flattened_dict(values)
    validate(config, training=True)
    with pytest.raises(UserError, match=message):
        refuse(config)


def test_a_part_of_one_image_of_one_pixel_is_refused(pictures):
    """Protects against BatchNorm over one value: its gradients are zero, its variance decays."""
    config = narrow_mobilenet_config(pictures)
    config.train.batch_size = config.train.grad_accum_steps = 8
    task = create_task(config)
    program = build_train_program(config, task, meshes.create_mesh(1, jax.devices()[:1]))
    batch = next(task.train_iterator())
    with pytest.raises(UserError, match=r"one value per channel, .*fewer train\.grad_accum_steps"):
        jax.eval_shape(program.step, program.state, batch)


class _Devices:
    """A mesh that counts."""

    def __init__(self, count: int):
        self.size = count


def test_a_single_class_is_refused(pictures, tmp_path):
    """Protects against a run that is right without learning anything."""
    shutil.copytree(pictures / "train" / "daisy", tmp_path / "daisy")
    config = narrow_mobilenet_config(tmp_path)
    with pytest.raises(UserError, match="the class daisy only; expected at least two"):
        create_task(config)


def test_what_was_refused_is_no_run(pictures, tmp_path):
    """Protects a second attempt in the same folder after an error."""
    config = narrow_mobilenet_config(pictures)
    config.data.image_size = 16
    with pytest.raises(UserError, match="16x16"):
        train(config, tmp_path)
    assert not (tmp_path / CONFIG_FILE).exists()


def test_remat_without_blocks_is_no_run(pictures, tmp_path):
    """Protects the second attempt: AlexNet rejects `train.remat` at once."""
    config = tiny_config(pictures)
    config.model = {"name": "alexnet_owt", "dtype": "float32"}
    config.data.image_size = 64
    config.train.remat = "blocks"
    with pytest.raises(UserError, match=r"no blocks.*train\.remat"):
        train(config, tmp_path)
    assert not (tmp_path / CONFIG_FILE).exists()


def test_patches_divide_the_image(pictures):
    """Protects ViT from images that its patches do not divide."""
    config = tiny_config(pictures)
    config.model = {"name": "vit_ti16", "dtype": "float32"}
    config.data.image_size = 40
    with pytest.raises(UserError, match=r"40x40 pixels; ViT .* multiples of 16"):
        _network(config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"data.vocabulary": "nowhere.model"},
            "vocabulary nowhere.model: .*; replace the file$",
        ),
        ({"data.vocabulary_size": 9}, r"a vocabulary of 9 pieces; .*required_chars"),
        ({"data.source": "parallel:nowhere"}, "Unknown source of sentence pairs"),
        ({"data.validation_split": "x", "data.train_split": "x"}, "Cannot read split 'x'"),
    ],
)
def test_what_others_refuse_of_translation(values, message):
    """Protects the rules that need the text."""
    config = tiny_translation_config()
    config.update_from_flattened_dict(values)
    with pytest.raises(UserError, match=message):
        create_task(config)
