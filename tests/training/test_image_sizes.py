"""Runs whose image size grows: compiled once per size, exactly continued, or refused."""

import flax.linen as nn
import jax.numpy as jnp
import pytest

from netzoo.errors import UserError
from netzoo.layers import BatchNorm, Conv
from netzoo.models import registry
from netzoo.tasks import create_task, resolve_config
from netzoo.training import train
from netzoo.training.loop import TrainingLoop
from tests.conftest import slow, tiny_config
from tests.training.runs import assert_same_run


class Pooled(nn.Module):
    """A convolution, BatchNorm and global pooling: the smallest network for images of any size."""

    num_classes: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images, *, train):
        """Return logits."""
        x = Conv(8, 3, stride=4, dtype=self.dtype)(images)
        x = nn.relu(BatchNorm(dtype=self.dtype)(x, train=train)).mean((1, 2))
        return nn.Dense(self.num_classes)(x)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "sizes"), [(8, 2), (14, 1)])
def test_a_run_continues_at_its_size(step, sizes, pictures, tmp_path, monkeypatch):
    """Protects exact continuation before and after the image size changes, at step 10.

    Checkpoints are saved every 3 steps, and an epoch has 5 steps.
    """
    monkeypatch.setitem(registry._ENTRIES, "pooled", registry.Entry(Pooled, 32))
    config = tiny_config(pictures)
    config.model = {"name": "pooled", "dtype": "float32"}
    config.train.image_sizes = ((0, 24), (2, 32))
    config.augment.update(erasing_prob=0.5, repeats=2, mixup_prob=0.5, cutmix=1.0)
    compiled = []

    def counted(self):
        run(self)
        compiled.append(self.train_step._cache_size())

    def stopped(self, at, *rest):
        finish_step(self, at, *rest)
        if at == step:
            raise KeyboardInterrupt

    run, finish_step = TrainingLoop.run, TrainingLoop.finish_step
    monkeypatch.setattr(TrainingLoop, "run", counted)
    assert train(config, tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "finish_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "stopped")
    assert train(config, tmp_path / "stopped") == 0
    assert compiled == [2, sizes]
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("vit_ti16", ((0, 32), (2, 48)), "the parameters of vit_ti16 depend on the image size"),
        ("mobilenet_v1", ((0, 16),), "16"),
    ],
)
def test_networks_that_need_one_size_are_refused(name, sizes, message, pictures):
    """Protects from an error of shapes after the first epochs."""
    config = tiny_config(pictures)
    config.model = {"name": name, "dtype": "float32"}
    config.train.image_sizes = sizes
    with pytest.raises(UserError, match=message):
        create_task(resolve_config(config))


@pytest.mark.parametrize("name", ["alexnet_owt", slow("vgg11_bn"), slow("resnet18")])
def test_networks_that_take_any_size(name, pictures):
    """Networks with adaptive pooling have the same parameters at every size."""
    config = tiny_config(pictures)
    config.model = {"name": name, "dtype": "float32"}
    config.data.image_size, config.train.image_sizes = 96, ((0, 64), (2, 96))
    assert next(create_task(resolve_config(config)).train_iterator())["image"].shape[1] == 64


def test_a_size_that_does_not_come_is_said(pictures):
    """Protects short trials of a long recipe from training at another size unnoticed."""
    config = tiny_config(pictures)
    config.model = {"name": "alexnet_owt", "dtype": "float32"}
    config.data.image_size, config.train.image_sizes = 96, ((0, 64), (4, 96))
    [line] = create_task(resolve_config(config)).notes()
    assert line.startswith("train.image_sizes has 96 px from epoch 4 on; the run has only 4 epochs")
    config.train.epochs = 5
    assert create_task(resolve_config(config)).notes() == []
