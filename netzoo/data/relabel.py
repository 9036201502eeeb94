"""A source whose labels follow the class names of a run."""

from collections.abc import Sequence

import numpy as np

from netzoo.data.source import Example, Source, SourceError, is_multi_label
from netzoo.errors import did_you_mean, printable

_LISTED, _LONGEST = 20, 60  # names in a message, and characters of each


class RelabelledSource:
    """A source whose labels index the given class names; its own classes are found there by name.

    The source may have the classes in another order, and may lack some.
    """

    def __init__(self, source: Source, class_names: Sequence[str]):
        """Wrap `source`.

        Raises:
          SourceError: The source has a class that `class_names` lacks or has twice.
        """
        self._source = source
        self.name, self.split, self.class_names = source.name, source.split, tuple(class_names)
        label_of = {name: label for label, name in enumerate(class_names)}
        if unknown := [name for name in source.class_names if name not in label_of]:
            lacking = [name for name in class_names if name not in {*source.class_names}]
            raise SourceError(
                f"{source.name} has classes that the network does not have: {_listed(unknown)}. "
                f"Classes of the network that the data lack: {_listed(lacking) or 'none'}."
                f"{did_you_mean(unknown[0], lacking)} Rename or remove the classes in the data."
            )
        if twice := [name for name in source.class_names if class_names.count(name) > 1]:
            raise SourceError(
                f"the network has several classes with the name {_listed(twice)}, so the classes "
                f"of {source.name} cannot be matched by name; use a network with unique names"
            )
        self.names = getattr(source, "names", None)
        self.multi_label = is_multi_label(source)
        self._labels = [label_of[name] for name in source.class_names]

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        example = self._source[index]
        label = example["label"]
        if not isinstance(label, np.ndarray):
            return {**example, "label": self._labels[label]}
        labels = np.zeros(len(self.class_names), np.float32)
        labels[self._labels] = label
        return {**example, "label": labels}


def _listed(names: Sequence[str]) -> str:
    more = [f"and {len(names) - _LISTED:,} more"] if len(names) > _LISTED else []
    return ", ".join([*(printable(name)[:_LONGEST] for name in names[:_LISTED]), *more])
