"""Distillation: the losses of the papers, what a teacher sees, and which teachers are refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy.special import log_softmax, softmax

from netzoo.errors import UserError
from netzoo.tasks import create_task
from netzoo.tasks.classification import distill as module
from netzoo.tasks.classification.distill import Teachers
from netzoo.tasks.classification.losses import distilled
from netzoo.tasks.classification.mix import mixup, normalize
from netzoo.training import train
from netzoo.weights import LoadedModel, Preprocessing
from netzoo.workdir.checkpoint import restore_variables
from tests.conftest import tiny_config

NAMES = ("daisy", "roses", "tulips")
LOGITS = np.array([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3]])
TAUGHT = softmax(np.array([[1.0, 3.0, 0.0], [0.4, 0.1, 2.0]]) / 3, axis=1)


def test_the_losses_are_those_of_the_papers():
    """Protects T squared, KL from the teacher, the weight of the labels, and DeiT's hard labels."""
    soft = ConfigDict({"kind": "soft", "temperature": 3.0, "alpha": 0.2})
    log_p = log_softmax(LOGITS / 3, 1)
    divergence = (TAUGHT * (np.log(TAUGHT) - log_p)).sum(1).mean()
    found = distilled(soft, 7.0, LOGITS, TAUGHT)
    np.testing.assert_allclose(found, 0.2 * 7 + 0.8 * 9 * divergence, rtol=1e-5)
    hard = ConfigDict({"kind": "hard", "temperature": 3.0, "alpha": 0.5})
    cross_entropy = -log_softmax(LOGITS, 1)[[0, 1], [1, 2]].mean()
    found = distilled(hard, 7.0, LOGITS, TAUGHT)
    np.testing.assert_allclose(found, 0.5 * 7 + 0.5 * cross_entropy, rtol=1e-6)


class Pooled(nn.Module):
    """The means of the channels and the size of the images are the logits."""

    num_classes: int = 3

    def __call__(self, images, *, train):
        assert not train
        return images.mean((1, 2)) * jnp.array([1.0, 2.0, 3.0]) + images.shape[1]


@pytest.fixture
def teachers(monkeypatch):
    """Return the function from settings to Teachers of `Pooled`, each with its images."""
    images = {
        "a": Preprocessing((100.0, 110.0, 120.0), (50.0, 60.0, 70.0), 10, 8, "bilinear"),
        "b": Preprocessing((127.5,) * 3, (63.75,) * 3, 16, 16, "area"),
    }
    names = {"a": ("roses", "tulips", "daisy")}
    monkeypatch.setattr(module, "load", lambda p, **_: LoadedModel(Pooled(), {}, images[p]))
    monkeypatch.setattr(module, "class_names_of", names.get)

    def create(*paths, **settings):
        config = tiny_config("unused")
        config.data.mean, config.data.std = (90.0, 80.0, 70.0), (40.0, 30.0, 20.0)
        config.distill.update({"teacher": paths, **settings})
        found = Teachers(config, 3, NAMES)
        return lambda images: found.probabilities(found.variables, images)

    return create


def logits_of(pixels, mean, std, size):
    return ((pixels.mean((1, 2)) - mean) / std) * [1, 2, 3] + size


def test_a_teacher_sees_the_same_mixed_image_in_its_own_way(teachers, capsys):
    """Protects the teacher's normalisation, image size and order of classes, and the mean."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    images = normalize(pixels, (90.0, 80.0, 70.0), (40.0, 30.0, 20.0))
    labels = jnp.arange(4)
    images, targets, _ = mixup(jax.random.key(3), 0.5, images, jax.nn.one_hot(labels, 4), labels)
    weight = float(targets[0, 0])
    mixed = weight * pixels.astype(float) + (1 - weight) * pixels[::-1]
    a = logits_of(mixed, [100, 110, 120], [50, 60, 70], 8)[:, [2, 0, 1]]
    b = logits_of(mixed, 127.5, 63.75, 16)
    for kind, t in (("soft", 2.0), ("hard", 1.0)):
        found = teachers("a", "b", kind=kind, temperature=2.0)(images)
        expected = (softmax(a / t, 1) + softmax(b / t, 1)) / 2
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(teachers("a")(images), softmax(a, 1), rtol=1e-4, atol=1e-6)
    assert "b stores no class names" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "images", "classes", "message"),
    [
        (("daisy", "roses", "cats"), True, 3, "has the classes daisy, roses, cats, but the data"),
        (None, True, 1000, "has 1000 classes, but the data has 3"),
        (None, False, 3, "normalisation of its images is unknown"),
    ],
)
def test_teachers_of_something_else_are_refused(names, images, classes, message, monkeypatch):
    """Protects training from a teacher whose answers mean other things."""
    seen = Preprocessing((0.0,) * 3, (1.0,) * 3, 8, 8, "area") if images else None
    loaded = LoadedModel(Pooled(classes), {}, seen)
    monkeypatch.setattr(module, "load", lambda *_, **__: loaded)
    monkeypatch.setattr(module, "class_names_of", lambda _: names)
    config = tiny_config("unused")
    config.distill.teacher = ("t",)
    with pytest.raises(UserError, match=message):
        Teachers(config, 3, NAMES)


def constant_rate(pictures, **distill):
    """A run whose schedule does not depend on its length, so that it can grow."""
    config = tiny_config(pictures)
    config.schedule.update(name="constant", warmup_epochs=0.0)
    config.evaluation.every_epochs = 0
    config.distill.update(distill)
    return config


@pytest.mark.slow
def test_a_network_learns_from_an_earlier_run_of_itself(pictures, tmp_path):
    """Protects self-distillation, its exact continuation, and the teacher, which stays the same.

    The teacher is in no checkpoint; a run refuses to continue with another one.
    """
    first = constant_rate(pictures)
    first.train.epochs = 2
    train(first, tmp_path / "first")
    config = constant_rate(pictures, teacher=(str(tmp_path / "first"),), temperature=2.0)
    config.train.grad_accum_steps, config.train.on_nonfinite = 2, "skip"
    config.train.epochs = 2
    train(config, tmp_path / "whole")
    for epochs in (1, 2):
        config.train.epochs = epochs
        train(config, tmp_path / "continued")
    whole, continued = (restore_variables(tmp_path / n)[2] for n in ("whole", "continued"))
    jax.tree.map(np.testing.assert_array_equal, whole, continued)
    shapes = jax.eval_shape(create_task(first).init, jax.random.key(0))
    assert jax.tree.structure(whole) == jax.tree.structure(shapes)
    first.train.epochs = 3
    train(first, tmp_path / "first")
    config.train.epochs = 3
    with pytest.raises(UserError, match=r"distill\.teacher\[0\] has changed"):
        train(config, tmp_path / "continued")
