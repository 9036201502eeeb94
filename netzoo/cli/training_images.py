"""The images that a run trains on, beside the originals: `netzoo contact_sheet --config`."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict, FrozenConfigDict

from netzoo.config.tasks import task_module
from netzoo.data.decode import decode_image
from netzoo.data.images import Augment
from netzoo.data.source import Example
from netzoo.errors import UserError
from netzoo.tasks import create_resolved_task, resolve_config
from netzoo.tasks.classification.image_classification import ImageClassification
from netzoo.tasks.classification.inputs import network_inputs
from netzoo.training.step import in_parts, run_keys

_inputs = jax.jit(network_inputs, static_argnums=(0, 1))


class Seen(NamedTuple):
    """A training image."""

    original: np.ndarray  # as in the data set, uint8 [height, width, 3]
    image: np.ndarray  # as the network gets it, without normalisation, uint8 [size, size, 3]
    label: str  # e.g. "roses 0.7 + tulips 0.3"


def training_images(config: ConfigDict, count: int) -> Iterator[Iterator[Seen]]:
    """Return the images of the first `count` steps of a run, in the order of their batches.

    Raises:
      UserError: The configuration or its data is invalid, or its examples are not images.
    """
    if not issubclass(task_module(config.task, "task").task_class(config), ImageClassification):
        raise UserError(
            f"{config.task} trains on no images; expected a configuration of image classification"
        )
    frozen = resolve_config(config, training=True)
    task = create_resolved_task(frozen)
    assert isinstance(task, ImageClassification)
    return (_images_of_step(frozen, task, step) for step in range(count))


def _images_of_step(
    config: FrozenConfigDict, task: ImageClassification, step: int
) -> Iterator[Seen]:
    batches = task.train_batches()
    recorded = _Recorded(batches.augmentation)
    batch = dataclasses.replace(batches, augmentation=recorded)[step]
    images, targets = _network_inputs(config, len(task.class_names), batch, step)
    pixels = images * np.float32(config.data.std) + np.float32(config.data.mean)
    pixels = np.rint(pixels).clip(0, 255).astype(np.uint8)
    for example, image, target in zip(recorded.examples, pixels, targets, strict=True):
        original = example["image"]
        if isinstance(original, bytes):
            original = decode_image(original, example["name"])
        label = label_text(target, task.class_names, config.train.label_smoothing)
        yield Seen(original, image, label)


class _Recorded:
    """An augmentation that keeps the examples of a batch in the order of its rows."""

    def __init__(self, augmentation: Augment):
        self.examples: list[Example] = []
        self._augmentation = augmentation

    def __call__(self, example: Example, size: int, rng: np.random.Generator) -> np.ndarray:
        image = self._augmentation(example, size, rng)
        self.examples.append(example)  # unless it is corrupt and another one replaces it
        return image


def _network_inputs(
    config: FrozenConfigDict, classes: int, batch: dict[str, np.ndarray], step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and targets of a step, counted from 0, in the order of the batch."""
    key = jax.random.fold_in(run_keys(config.seed)[1], step)
    parts, keys = in_parts(batch, key, config.train.grad_accum_steps)
    rows = (jax.tree.map(lambda x, n=n: x[n], parts) for n in range(len(keys)))
    found = [_inputs(config, classes, row, key)[0] for row, key in zip(rows, keys, strict=True)]
    images, targets, _ = (np.stack(values, 1) for values in zip(*found, strict=True))
    return images.reshape(-1, *images.shape[2:]), targets.reshape(-1, classes)


def label_text(target: np.ndarray, class_names: Sequence[str], smoothing: float) -> str:
    """Return the classes of a target `[classes]`, the largest first, with their probabilities.

    Classes that have only their share of the label smoothing are left out, and so are probabilities
    that round to 1.
    """
    shares = target - smoothing / len(class_names)
    order = [n for n in np.argsort(-shares, kind="stable") if shares[n] >= 0.005]
    texts = ((class_names[n], f"{target[n]:.2f}".rstrip("0").rstrip(".")) for n in order)
    return " + ".join(name if share == "1" else f"{name} {share}" for name, share in texts)
