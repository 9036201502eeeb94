"""Starting from weights: frozen parameters stay, and the weights set their preprocessing."""

import json

import chex
import flax
import jax
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.models import create_model
from netzoo.tasks import resolve_config
from netzoo.training import train
from netzoo.weights import save_safetensors
from netzoo.workdir.checkpoint import restore_variables
from tests.conftest import tiny_config


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of drawn weights for seven classes, and its variables."""
    model = create_model("mobilenet_v1", num_classes=7, width_multiplier=0.25)
    images = np.zeros((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(lambda k: model.init(k, images, train=False), jax.random.key(0))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda s: rng.uniform(0.1, 1, s.shape).astype(np.float32), shapes)
    path = tmp_path_factory.mktemp("weights") / "seven.safetensors"
    save_safetensors(path, variables, "mobilenet_v1")
    return path, variables


def head_only(pictures, path):
    """A configuration that fine-tunes only the classifier."""
    config = tiny_config(pictures)
    config.model.update(name="mobilenet_v1", width_multiplier=0.25)
    config.init.weights = str(path)
    config.optimizer.lr_mults = ((r"logits/.*", 1.0), (r".*", 0.0))
    config.train.freeze_batch_norm = True
    config.train.ema_decay = 0.0
    config.train.epochs = 2
    return config


@pytest.mark.slow
def test_a_frozen_body_stays_bit_for_bit(weights, pictures, tmp_path, capsys):
    """Protects linear evaluation: only the new classifier changes, and no statistics."""
    path, before = weights
    assert train(head_only(pictures, path), tmp_path) == 0
    _, _, after = restore_variables(tmp_path)
    new_head = after["params"].pop("logits")
    body = {**before, "params": {n: t for n, t in before["params"].items() if n != "logits"}}
    chex.assert_trees_all_equal(
        *(flax.traverse_util.flatten_dict(tree, sep="/") for tree in (after, body))
    )
    assert new_head["kernel"].shape == (256, 3) and np.abs(new_head["bias"]).min() > 0
    printed = capsys.readouterr().out
    assert "'logits/.*' -> 1.0: 2 tensors, 771 parameters" in printed
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["init"] == str(path)


def test_weights_that_do_not_fit_are_an_error_before_anything_compiles(weights, pictures, tmp_path):
    """Protects users from training a network that silently kept its random weights."""
    config = head_only(pictures, weights[0])
    config.model.width_multiplier = 0.5
    with pytest.raises(UserError, match=r"does not fit the network[\s\S]*of another shape"):
        train(config, tmp_path)


def test_published_weights_bring_their_normalisation():
    """Protects accuracy: ImageNet's mean unless the user sets another, and the right network."""
    config = tiny_config("nowhere")
    config.model.name = "mobilenet_v2"
    config.init.weights = "mobilenet_v2.tv_in1k"
    resolved = resolve_config(config)
    assert resolved.data.mean == (123.675, 116.28, 103.53)
    assert resolved.data.std == (58.395, 57.12, 57.375)
    config.data.mean = (1.0, 2.0, 3.0)
    assert resolve_config(config).data.mean == (1.0, 2.0, 3.0)
    config.init.weights = "resnet50.tv_in1k"
    with pytest.raises(UserError, match=r"belong to resnet50, but model\.name is mobilenet_v2"):
        resolve_config(config)
