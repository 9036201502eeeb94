"""Short trainings of lessons."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from netzoo.layers import BatchNorm, endpoint
from netzoo.teaching import (
    Pictures,
    batches,
    endpoint_percentiles,
    evaluator,
    fit,
    fit_loss,
    gradient_norms,
    initial_variables,
    normalize,
    sgd,
)
from netzoo.teaching.figures import smooth
from netzoo.teaching.fit import _augmented


class Small(nn.Module):
    """One dense layer, BatchNorm and dropout."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, images, train):
        x = nn.Dense(8, name="hidden")(images.reshape(len(images), -1))
        x = nn.relu(BatchNorm(name="norm")(x, train=train))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(2, name="logits")(x)


@pytest.fixture(scope="module")
def pictures():
    """Dark and bright images of noise."""
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 40).astype(np.int32)
    pixels = np.clip(rng.normal(100 + 50 * labels[:, None, None, None], 30, (80, 8, 8, 3)), 0, 255)
    pixels = pixels.astype(np.uint8)
    return Pictures(pixels[:60], labels[:60], pixels[60:], labels[60:], ("dark", "bright"))


def test_a_training_learns_and_reports(pictures):
    """The loss falls, `watch` sees the variables at its steps, and other settings matter."""
    model = Small()
    score = evaluator(model, pictures.validation, pictures.validation_labels)
    options = {"steps": 25, "batch_size": 16, "watch": score, "watch_every": 10}
    found = fit(model, pictures, optimizer=1e-2, **options)
    assert found.loss.shape == (25,)
    assert found.loss[-5:].mean() < 0.5 * found.loss[:3].mean()
    assert found.watched_steps.tolist() == [0, 10, 20, 25]
    start = score(initial_variables(model, pictures.train))
    assert found.watched["loss"][0] == pytest.approx(start["loss"], rel=1e-5)
    assert found.watched["accuracy"][-1] == score(found.variables)["accuracy"] > 0.9
    again, other = (
        fit(model, pictures, optimizer=rate, **options | {"watch": None}) for rate in (1e-2, 1e-3)
    )
    np.testing.assert_array_equal(again.loss, found.loss)
    assert other.loss[-1] > found.loss[-1]
    for change in ({"seed": 1}, {"augment": False}, {"batch_size": 8}):
        [first] = fit(model, pictures, **{"steps": 1, "batch_size": 16, **change}).loss
        assert abs(first - found.loss[0]) > 1e-4, change


def test_trainings_with_other_seeds_share_the_compiled_step(pictures):
    traced = []

    class Traced(nn.Module):
        @nn.compact
        def __call__(self, images, train):
            traced.append(train)
            return nn.Dense(2)(images.reshape(len(images), -1))

    losses = [fit(Traced(), pictures, steps=1, seed=seed).loss for seed in (0, 1)]
    assert sum(traced) == 1 and losses[0] != losses[1]
    fit(Traced(), pictures, steps=1, optimizer=1e-2)
    assert sum(traced) == 2


def test_any_loss_is_minimised():
    """Gradient descent with rate 0.25 halves the distance to the batch; collections are kept."""

    def loss(variables, batch, key):
        return ((variables["params"] - batch) ** 2).sum(), {"seen": variables["seen"] + 1}

    variables = {"params": jnp.array([3.0]), "seen": jnp.zeros(())}
    found = fit_loss(loss, variables, iter([1.0] * 3), steps=3, optimizer=optax.sgd(0.25))
    np.testing.assert_array_equal(found.loss, [4, 1, 0.25])
    assert found.variables == {"params": 1.25, "seen": 3}


def test_sgd_has_momentum_and_decays_its_rate():
    """Two steps with a gradient of 1: the sums are 1 and 1.9, and decay halves the second rate."""
    for optimizer, second_rate in ((sgd(0.3, 2), 0.15), (sgd(0.3), 0.3)):
        state, found = optimizer.init(jnp.zeros(())), []
        for _ in range(2):
            update, state = optimizer.update(jnp.ones(()), state)
            found.append(float(update))
        assert found == pytest.approx([-0.3, -second_rate * 1.9])


def test_percentiles_of_endpoints(pictures):
    class Scaled(nn.Module):
        @nn.compact
        def __call__(self, images, train):
            endpoint(self, "scaled", images * self.param("scale", nn.initializers.ones, ()))
            endpoint(self, "mode", images * 0 + train)
            return images.mean((1, 2, 3))

    watch = endpoint_percentiles(Scaled(), pictures.train, (0, 50), train=True)
    found = watch({"params": {"scale": 3.0}})
    expected = 3 * normalize(np.percentile(pictures.train, (0, 50)))
    assert [found["scaled/0"], found["scaled/50"]] == pytest.approx(expected.tolist(), abs=1e-5)
    assert found["mode/50"] == 1
    other = endpoint_percentiles(Scaled(), pictures.train, (50,))({"params": {"scale": 3.0}})
    assert other["mode/50"] == 0 and set(other) == {"scaled/50", "mode/50"}


def test_dropout_is_active_in_training_only(pictures):
    model = Small(dropout=0.5)
    variables = initial_variables(model, pictures.train)
    rest = pictures.train, pictures.train_labels
    plain = evaluator(Small(), *rest)(variables)
    assert evaluator(model, *rest)(variables) == plain
    assert evaluator(model, *rest, train=True)(variables)["loss"] != plain["loss"]


def test_evaluation_has_every_image_once(pictures):
    """261 images are two batches, of 200 and 61."""
    model = Small()
    variables = initial_variables(model, pictures.train)
    many = np.resize(pictures.train, (261, 8, 8, 3)), np.resize(pictures.train_labels, 261)
    logits = model.apply(variables, normalize(many[0]), train=False)
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, many[1]).mean()
    found = evaluator(model, *many)(variables)
    assert found["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert found["accuracy"] == (np.array(logits).argmax(-1) == many[1]).mean()


def test_evaluation_in_training_mode_uses_the_statistics_of_each_batch(pictures):
    """A constant per batch makes no difference: BatchNorm subtracts the mean of the batch."""
    model = Small()
    variables = initial_variables(model, pictures.train)
    images = pictures.train[:8] // 4
    shifted = images + np.repeat([0, 100], 4).astype(np.uint8)[:, None, None, None]
    labels = pictures.train_labels[:8]
    losses = {
        size: [
            evaluator(model, pixels, labels, train=True, batch_size=size)(variables)["loss"]
            for pixels in (images, shifted)
        ]
        for size in (4, 8)
    }
    assert losses[4][0] == pytest.approx(losses[4][1], rel=1e-4)
    assert abs(losses[8][0] - losses[8][1]) > 0.01


def test_gradient_norms_are_those_of_the_loss(pictures):
    model = Small()
    variables = initial_variables(model, pictures.train)

    def loss(params):
        logits, _ = model.apply(
            {**variables, "params": params},
            normalize(pictures.train),
            train=True,
            mutable=["batch_stats"],
        )
        labels = pictures.train_labels
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    gradient = jax.grad(loss)(variables["params"])
    norms = gradient_norms(model, variables, pictures.train, pictures.train_labels)
    assert norms["logits/kernel"] == pytest.approx(
        float(jnp.linalg.norm(gradient["logits"]["kernel"])), rel=1e-5
    )
    # BatchNorm subtracts the mean, so that a bias before it changes nothing.
    assert norms["hidden/bias"] < 1e-6 * norms["hidden/kernel"]


def test_augmentation_shifts_and_mirrors():
    """Each image is a crop of the padded one, perhaps mirrored; both happen."""
    image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(1, 16, 16, 3)
    images = _augmented(np.repeat(image, 64, 0), np.random.default_rng(0))
    padded = np.pad(image[0], ((2, 2), (2, 2), (0, 0)), mode="edge")
    crops = [padded[y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    kinds = {
        next(
            (number, mirrored)
            for number, crop in enumerate(crops)
            for mirrored in (False, True)
            if (out == (crop[:, ::-1] if mirrored else crop)).all()
        )
        for out in images
    }
    assert len({number for number, _ in kinds}) > 15
    assert {mirrored for _, mirrored in kinds} == {False, True}


def test_smoothing_is_a_mean_of_the_last_values():
    np.testing.assert_allclose(smooth(np.array([4.0, 2, 0, 1]), 2), [4, 3, 1, 0.5])
    np.testing.assert_allclose(smooth(np.array([4.0, 2, 0, 1]), 9), [4, 3, 2, 1.75])


def test_an_epoch_of_batches_has_every_image_once(pictures):
    first, other = (
        np.concatenate([next(drawn)[0] for _ in range(6)])
        for drawn in (batches(pictures, batch_size=10, augment=False, seed=s) for s in (0, 1))
    )
    assert (np.sort(first, axis=None) == np.sort(pictures.train, axis=None)).all()
    assert len(np.unique(first, axis=0)) == 60
    assert (first != other).any()
