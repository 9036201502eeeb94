"""Class names and labels of images whose classes are texts."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from netzoo.data.source import SourceError
from netzoo.data.splits import split_role
from netzoo.errors import did_you_mean, printable


def in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Return the different classes in alphabetical order, or in the order of their numbers."""
    found = {*classes}
    numbers = all(text.isascii() and text.isdigit() and len(text) < 19 for text in found)
    return tuple(sorted(found, key=int) if numbers else sorted(found))


def label_numbers(
    texts: Sequence[str], splits: Mapping[str, Sequence[int]], where: Callable[[int], str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names and the labels of images whose classes are texts.

    The training split, if there is one, determines the classes. They are in alphabetical order, or
    in the order of their numbers if all are whole numbers.

    Args:
      texts: The class of each image.
      splits: The images of each split.
      where: Returns the place of an image, for errors.

    Raises:
      SourceError: A class is empty, or the training split lacks it.
    """
    if "" in texts:
        raise SourceError(f"{where(texts.index(''))}: the label is empty")
    training = next((rows for name, rows in splits.items() if split_role(name) == "train"), None)
    class_names = in_order(texts if training is None else (texts[row] for row in training))
    label_of = {name: label for label, name in enumerate(class_names)}
    unknown = next((row for row, text in enumerate(texts) if text not in label_of), None)
    if unknown is not None:
        raise SourceError(
            f"{where(unknown)}: the label is {printable(texts[unknown])!r}, which does not "
            f"occur in the training split.{did_you_mean(texts[unknown], class_names)} Correct the "
            "label, or remove the image."
        )
    return class_names, np.array([label_of[text] for text in texts], np.int64)
