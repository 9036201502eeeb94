"""Short trainings of small networks, which a lesson can look at after any step.

The trainer (`netzoo.training`) needs a configuration and keeps checkpoints. A lesson trains many
networks that no configuration describes, for a minute each, and looks at their gradients.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from chex import ArrayTree

from netzoo.kernels import compiler_options
from netzoo.layers import ENDPOINTS
from netzoo.progress import track
from netzoo.teaching.pictures import Pictures

# The preprocessing of a lesson: pixels become roughly zero-mean and unit-variance.
MEAN, DEVIATION = 127.5, 63.75


class Fit(NamedTuple):
    """The result of a training.

    Attributes:
      variables: The variables after the last step.
      loss: The loss of every step, `[steps]`. It is not finite after a training diverges.
      watched: The values of `watch`, by name: `[times]`.
      watched_steps: The numbers of steps before each call of `watch`, `[times]`.
    """

    variables: ArrayTree
    loss: np.ndarray
    watched: Mapping[str, np.ndarray]
    watched_steps: np.ndarray


def normalize(pixels: np.ndarray | jax.Array) -> jax.Array:
    """Return float32 images of uint8 pixels."""
    return (jnp.asarray(pixels, jnp.float32) - MEAN) / DEVIATION


def initial_variables(model: nn.Module, images: np.ndarray, seed: int = 0) -> ArrayTree:
    """Return random variables of a network for uint8 images `[n, height, width, 3]`."""
    variables = _init(model)(jax.random.key(seed), normalize(images[:1]))
    return {name: variables[name] for name in ("params", "batch_stats") if name in variables}


@functools.lru_cache(maxsize=8)
def _init(model: nn.Module) -> Callable:
    return jax.jit(functools.partial(model.init, train=False))


def fit(
    model: nn.Module,
    pictures: Pictures,
    *,
    steps: int,
    batch_size: int = 32,
    optimizer: optax.GradientTransformation | float = 1e-3,
    seed: int = 0,
    augment: bool = True,
    watch: Callable[[ArrayTree], Mapping[str, float]] | None = None,
    watch_every: int = 100,
    description: str = "training",
) -> Fit:
    """Train a classifier on the training images of `pictures`.

    Args:
      model: Called as `model.apply(variables, images, train=True)`; returns logits. Values
        that it sows are ignored.
      pictures: The images and their labels.
      steps: Number of updates.
      batch_size: Images of an update, drawn without replacement in each epoch.
      optimizer: An optimizer, or the peak learning rate of AdamW with a linear warm-up over a tenth
        of the steps and a cosine decay to 0.
      seed: Decides the initial variables, the order of the images, dropout and augmentation.
      augment: Whether to mirror half of the images and to shift all of them by up to an
        eighth of their size.
      watch: Computes numbers from the variables before the first step, after every `watch_every`
        steps and after the last step.
      watch_every: See `watch`.
      description: Text of the progress bar.

    Returns:
      The trained variables and the course of the training.
    """
    return fit_loss(
        _cross_entropy(model),
        initial_variables(model, pictures.train, seed),
        batches(pictures, batch_size=batch_size, augment=augment, seed=seed),
        steps=steps,
        optimizer=optimizer,
        seed=seed,
        watch=watch,
        watch_every=watch_every,
        description=description,
    )


def fit_loss(
    loss: Callable[[ArrayTree, Any, jax.Array], tuple[jax.Array, ArrayTree]],
    variables: ArrayTree,
    batches: Iterator[Any],
    *,
    steps: int,
    optimizer: optax.GradientTransformation | float = 1e-3,
    seed: int = 0,
    watch: Callable[[ArrayTree], Mapping[str, float]] | None = None,
    watch_every: int = 100,
    description: str = "training",
) -> Fit:
    """Minimise a loss over batches.

    Args:
      loss: Maps variables, a batch and a random key to the loss and the new collections beside the
        parameters, such as `{"batch_stats": ...}` or `{}`.
      variables: The variables before the first step. Do not use them afterwards, because the steps
        reuse their memory.
      batches: At least `steps` batches.
      steps: Number of updates.
      optimizer: See `fit`.
      seed: Decides the random keys.
      watch: See `fit`.
      watch_every: See `fit`.
      description: Text of the progress bar.

    Returns:
      The trained variables and the course of the training.
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        optimizer = _adamw(optimizer, steps)
    init, step = _step(loss, optimizer)
    optimizer_state, key = init(variables["params"]), jax.random.key(seed)
    losses, watched = [], {}
    for number in track(range(steps), description):
        if watch and number % watch_every == 0:
            watched[number] = watch(variables)
        batch, step_key = next(batches), jax.random.fold_in(key, number)
        variables, optimizer_state, value = step(variables, optimizer_state, batch, step_key)
        losses.append(value)
    if watch:
        watched[steps] = watch(variables)
    names = next(iter(watched.values()), {})
    columns = {name: np.array([float(seen[name]) for seen in watched.values()]) for name in names}
    return Fit(variables, np.array(jax.device_get(losses)), columns, np.array([*watched], int))


@functools.lru_cache(maxsize=8)
def _adamw(peak: float, steps: int) -> optax.GradientTransformation:
    warmup = max(steps // 10, 1)
    schedule = optax.warmup_cosine_decay_schedule(0, peak, warmup, max(steps, warmup + 1))
    return optax.adamw(schedule)


@functools.lru_cache(maxsize=8)
def sgd(rate: float, steps: int | None = None) -> optax.GradientTransformation:
    """Return SGD with momentum 0.9.

    The rate is part of the optimizer's state, so that all rates share one compiled program.

    Args:
      rate: Learning rate.
      steps: If given, the rate decays to 0 along a cosine in this number of steps.
    """
    decay = optax.cosine_decay_schedule(1.0, steps) if steps else 1.0
    scale = optax.inject_hyperparams(optax.scale)(step_size=rate)
    return optax.chain(optax.sgd(decay, momentum=0.9), scale)


@functools.lru_cache(maxsize=8)  # the same function for the same network; see `_step`
def _cross_entropy(model: nn.Module) -> Callable:
    def loss(variables, batch, key):
        images, labels = batch
        logits, updates = _apply(model, variables, images, key)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return losses.mean(), updates

    return loss


def batches(
    pictures: Pictures, *, batch_size: int = 32, augment: bool = True, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield batches of training images and labels without end; each epoch has another order.

    See `fit` for the arguments.
    """
    rng, order = np.random.default_rng(seed), np.empty(0, int)
    while True:
        while len(order) < batch_size:
            order = np.concatenate([order, rng.permutation(len(pictures.train))])
        batch, order = order[:batch_size], order[batch_size:]
        images = pictures.train[batch]
        yield _augmented(images, rng) if augment else images, pictures.train_labels[batch]


# Trainings with other seeds share the compiled program. Tracing it again would take as long as
# tens of steps of a small network.
@functools.lru_cache(maxsize=8)
def _step(loss: Callable, optimizer: optax.GradientTransformation) -> tuple[Callable, Callable]:
    """Return the functions that initialise the optimizer's state and that make an update."""

    def step(variables, optimizer_state, batch, key):
        def loss_of(params):
            return loss({**variables, "params": params}, batch, key)

        params = variables["params"]
        (value, updates), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        changes, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return {**updates, "params": optax.apply_updates(params, changes)}, optimizer_state, value

    compiled = jax.jit(step, donate_argnums=(0, 1), compiler_options=compiler_options())
    return jax.jit(optimizer.init), compiled


def _apply(
    model: nn.Module, variables: ArrayTree, images: jax.Array, key: jax.Array
) -> tuple[jax.Array, ArrayTree]:
    """Return the logits in training mode and the new running statistics."""
    return model.apply(
        variables,
        normalize(images),
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": key},
    )


def _augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror half of the images, and shift all of them. Edge pixels fill the gaps."""
    size = images.shape[1]
    reach = size // 8
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    shifted = np.empty_like(images)
    for row, (y, x, mirror) in enumerate(
        zip(*rng.integers(0, 2 * reach + 1, (2, len(images))), rng.random(len(images)), strict=True)
    ):
        image = padded[row, y : y + size, x : x + size]
        shifted[row] = image[:, ::-1] if mirror < 0.5 else image
    return shifted


def evaluator(
    model: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    train: bool = False,
    batch_size: int = 200,
) -> Callable[[ArrayTree], dict[str, float]]:
    """Return a function of the variables that gives `accuracy` (0 to 1) and the mean `loss`.

    With `train`, BatchNorm uses the statistics of each evaluated batch, and dropout is active. The
    last batch may be smaller than `batch_size`.
    """

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def scores(variables, images, labels):
        if train:
            logits, _ = _apply(model, variables, images, jax.random.key(0))
        else:
            logits = model.apply(variables, normalize(images), train=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return (logits.argmax(-1) == labels).sum(), losses.sum()

    def evaluate(variables):
        right = loss = 0.0
        for start in range(0, len(images), batch_size):
            batch = slice(start, start + batch_size)
            added = scores(variables, images[batch], labels[batch])
            right, loss = right + float(added[0]), loss + float(added[1])
        return {"accuracy": right / len(images), "loss": loss / len(images)}

    return evaluate


def endpoint_percentiles(
    model: nn.Module,
    images: np.ndarray,
    percentiles: Sequence[float] = (15, 50, 85),
    *,
    train: bool = False,
) -> Callable[[ArrayTree], dict[str, float]]:
    """Return a function of the variables that gives percentiles of every endpoint.

    Each name joins an endpoint and a percentile, such as `stem/50`.
    With `train`, BatchNorm uses the statistics of the images, and dropout is active.
    """

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def endpoints(variables):
        options = {"train": train, "mutable": [ENDPOINTS], "rngs": {"dropout": jax.random.key(0)}}
        return model.apply(variables, normalize(images), **options)[1][ENDPOINTS]

    def watch(variables):
        values = jax.device_get(endpoints(variables))
        return {
            f"{name}/{percentile}": float(np.percentile(value, percentile))
            for name, value in values.items()
            for percentile in percentiles
        }

    return watch


def gradient_norms(
    model: nn.Module, variables: ArrayTree, images: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """Return the norm of the gradient of the cross-entropy for each parameter, by its path."""

    @functools.partial(jax.jit, compiler_options=compiler_options())
    def norms(variables):
        def loss_of(params):
            everything = {**variables, "params": params}
            logits, _ = _apply(model, everything, images, jax.random.key(0))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        return jax.tree.map(jnp.linalg.norm, jax.grad(loss_of)(variables["params"]))

    leaves = jax.tree_util.tree_leaves_with_path(norms(variables))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): float(x) for path, x in leaves}
