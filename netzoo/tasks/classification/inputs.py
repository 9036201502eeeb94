"""What the network gets in training: augmented batches, normalised and mixed in the step."""

import dataclasses
from typing import Any

import jax
import optax
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.data.images import Augmentation, TrainBatches
from netzoo.data.source import Source
from netzoo.tasks.classification.mix import Mixed, mix, normalize


def train_batches(config: ConfigDict, source: Source, **options: Any) -> TrainBatches:
    """Return the augmented batches of a run; `options` are further attributes of `TrainBatches`.

    Raises:
      UserError: `augment.custom` is unknown.
    """
    names = {field.name for field in dataclasses.fields(Augmentation)} - {"mean"}
    augmentation = Augmentation(
        **{name: config.augment[name] for name in names}, mean=config.data.mean
    )
    return TrainBatches(
        source,
        seed=config.seed,
        augmentation=augmentation,
        repeats=config.augment.repeats,
        image_sizes=config.train.image_sizes,
        **options,
    )


def network_inputs(
    config: ConfigDict, classes: int, batch: ArrayTree, key: jax.Array
) -> tuple[Mixed, jax.Array]:
    """Return the normalised and mixed images, smoothed targets and labels of a training batch.

    With `data.multi_label`, the targets are the mixed label vectors, without smoothing.

    Args:
      config: The configuration of the run.
      classes: Number of classes.
      batch: A batch of `train_batches`, or a part of it with gradient accumulation.
      key: The random key of its loss.

    Returns:
      `(images, targets, labels)` as in `netzoo.tasks.classification.mix`, and the key of dropout.
    """
    labels = batch["label"]
    mix_key, dropout_key = jax.random.split(key)
    images = normalize(batch["image"], config.data.mean, config.data.std)
    if config.data.multi_label:
        targets = labels
    else:
        targets = jax.nn.one_hot(labels, classes)
        targets = optax.smooth_labels(targets, config.train.label_smoothing)
    return mix(mix_key, config.augment, (images, targets, labels)), dropout_key
