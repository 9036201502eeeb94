"""Stratified folds of the training examples: one validates, the others train.

A fold is part of a split expression, so that it means the same examples wherever it is written:

    train[:80%] fold 0/5 seed 0            the first of five folds
    train[:80%] without fold 0/5 seed 0    the other four
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from netzoo.data.batching import generator
from netzoo.data.source import Example, Source, SourceError, example_name, is_multi_label, labels_of

_FOLD_STREAM = 3
_EXPRESSION = re.compile(
    r"(?P<split>.*?\S) (?P<others>without )?fold "
    r"(?P<number>\d{1,9})/(?P<folds>\d{1,9}) seed (?P<seed>\d{1,10})"
)


class Fold(NamedTuple):
    """One of `folds` folds, or the examples outside it."""

    number: int
    folds: int
    seed: int
    others: bool = False

    def __str__(self) -> str:
        without = "without " if self.others else ""
        return f"{without}fold {self.number}/{self.folds} seed {self.seed}"


def parse_fold(split: str) -> tuple[str, Fold | None]:
    """Return a split expression without its fold, and the fold, or None if it has none."""
    match = _EXPRESSION.fullmatch(split.strip())
    if match is None:
        return split, None
    number, folds, seed = (int(match[name]) for name in ("number", "folds", "seed"))
    return match["split"], Fold(number, folds, seed, match["others"] is not None)


def unfold(data: ConfigDict) -> None:
    """Undo, in place, what `apply_fold` did to the section `data` of a configuration.

    Raises:
      SourceError: The configuration has a validation split of its own.
    """
    if data.validation_split is not None and parse_fold(data.validation_split)[1] is None:
        raise SourceError(
            f"data.fold is {tuple(data.fold)} and data.validation_split is "
            f"{data.validation_split!r}; expected one of the two, because the fold is the "
            "validation split"
        )
    data.validation_split = None
    if data.train_split is not None:
        data.train_split = parse_fold(data.train_split)[0]


def apply_fold(data: ConfigDict) -> None:
    """Divide the training split, if there is one, into `data.fold` and the rest, in place."""
    if data.train_split is None:
        return
    number, folds = data.fold
    fold, split = Fold(number, folds, data.fold_seed), data.train_split
    data.validation_split = f"{split} {fold}"
    data.train_split = f"{split} {fold._replace(others=True)}"


def fold_members(labels: Sequence[int] | np.ndarray, fold: Fold) -> np.ndarray:
    """Return the positions of a fold's examples, in order.

    The folds are disjoint and complete. Their sizes differ by at most one, and so do the numbers of
    examples of each class. The seed and the labels determine them. In multi-label data, with
    `labels` `[N, classes]`, each combination of classes counts as a class.
    """
    kinds = np.asarray(labels)
    if kinds.ndim == 2:
        kinds = np.unique(kinds, axis=0, return_inverse=True)[1].reshape(-1)
    order = generator(fold.seed, _FOLD_STREAM, 0, 0).permutation(len(kinds))
    by_class = order[np.argsort(kinds[order], kind="stable")]
    own = by_class[fold.number :: fold.folds]
    return np.setdiff1d(np.arange(len(kinds)), own) if fold.others else np.sort(own)


class FoldSource:
    """The examples of a source that belong to a fold."""

    def __init__(self, source: Source, fold: Fold, *, skip_corrupt: bool = False):
        """Select the examples of `source` by their labels.

        A source without the attribute `labels` is read once in full.

        Raises:
          SourceError: The fold does not exist, or it is empty.
          ImageError: An example cannot be read and `skip_corrupt` is False.
        """
        if not fold.number < fold.folds <= len(source):
            raise SourceError(
                f"there is no {fold._replace(others=False)} of the {len(source):,} examples of "
                f"{source.name} {source.split}; expected fold i/k with i < k <= {len(source)}"
            )
        self._source = source
        labels = labels_of(source, skip_corrupt)
        self._members = fold_members(labels, fold).tolist()
        self.labels = labels[self._members]
        self.name, self.class_names = source.name, source.class_names
        self.multi_label = is_multi_label(source)
        self.split = f"{source.split} {fold}"
        self.names = [example_name(source, index) for index in self._members]

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> Example:
        return self._source[self._members[index]]
