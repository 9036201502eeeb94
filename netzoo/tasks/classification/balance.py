"""Class weights and balanced sampling, for data whose classes are not equally frequent."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from netzoo.data.epoch_order import ClassBalance
from netzoo.data.source import Source, labels_of
from netzoo.errors import UserError, did_you_mean

_LISTED = 20


class Balance:
    """What `train.balance` and `train.class_weights` mean for the training examples.

    Attributes:
      weights: Weights of the classes in the loss, float32 `[classes]`; None for equal weights.
      sampling: Chooses the examples of an epoch; None if each example occurs once.
    """

    def __init__(self, config: ConfigDict, source: Source | None, class_names: Sequence[str]):
        """Count the classes of `source` if the configuration needs it.

        Without a source, the weights are those of equally frequent classes.

        Raises:
          UserError: `train.class_weights` names an unknown class.
        """
        self._classes, self._counts = class_names, np.ones(len(class_names), int)
        self.sampling: ClassBalance | None = None
        self.weights: np.ndarray | None = None
        if config.train.balance != "none" and source is not None:
            skip_corrupt = config.data.on_corrupt == "skip"
            labels = labels_of(source, skip_corrupt)
            self._counts = np.bincount(labels[labels >= 0], minlength=len(class_names))
            if config.train.balance == "sampling":
                self.sampling = ClassBalance(labels)
        if config.train.balance == "loss":
            self.weights = balanced_weights(self._counts)
        elif config.train.class_weights:
            self.weights = _given(config.train.class_weights, class_names)

    def notes(self) -> list[str]:
        """Return a line about the class weights or the balanced sampling, if the run uses them."""
        if self.sampling is not None:
            counts = self._counts[self._counts > 0]
            share, rare = self._counts.sum() / len(counts), counts.min()
            return [
                f"train.balance is sampling: an epoch has about {share:,.0f} images of each class, "
                f"each of the {rare:,} images of the rarest class about {share / rare:.1f} times"
            ]
        if self.weights is None:
            return []
        pairs = zip(self._classes, self.weights.tolist(), strict=True)
        listed = ", ".join(f"{name} {weight:.3g}" for name, weight in [*pairs][:_LISTED])
        more = f" and {len(self._classes) - _LISTED:,} more"
        return [f"class weights: {listed}{more if len(self._classes) > _LISTED else ''}"]


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Return `n / (k * count)` of each class: k classes with examples, n examples together.

    The mean weight of an example is 1. A class without examples has the weight 0. This is
    scikit-learn's `compute_class_weight("balanced")`.
    """
    present = np.maximum(counts, 1) * np.count_nonzero(counts)
    return np.where(counts > 0, counts.sum() / present, 0).astype(np.float32)


def _given(pairs: Sequence[tuple[str, float]], class_names: Sequence[str]) -> np.ndarray:
    given = dict(pairs)
    if unknown := [name for name in given if name not in class_names]:
        raise UserError(
            f"train.class_weights names the class {unknown[0]!r}, which the data lack."
            f"{did_you_mean(unknown[0], class_names)}"
        )
    return np.array([given.get(name, 1.0) for name in class_names], np.float32)
