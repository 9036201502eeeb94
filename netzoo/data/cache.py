"""Caches a source in memory, so that later epochs skip the disk or the decoder."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from netzoo.data.decode import decode_image
from netzoo.data.source import Example, Source, is_multi_label
from netzoo.errors import unknown_name

CacheMode = Literal["none", "encoded", "decoded"]


class CachedSource:
    """A source that keeps its examples in memory after reading them.

    `encoded` keeps the files (tf_flowers: 0.23 GB). `decoded` keeps the pixels, 3 bytes each
    (tf_flowers: 1.15 GB). The cache fills on first use. It needs no lock: two threads that miss the
    same example at once store equal values.
    """

    def __init__(self, source: Source, mode: Literal["encoded", "decoded"]):
        """Wrap `source`; datasets that use the same wrapper share its memory."""
        self._source = source
        self.mode = mode
        self.name = source.name
        self.split = source.split
        self.class_names = source.class_names
        self.names = getattr(source, "names", None)
        self.multi_label = is_multi_label(source)
        self._examples: list[Example | None] = [None] * len(source)

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def labels(self) -> Sequence[int] | np.ndarray | None:
        """The labels of the source, if it knows them."""
        return getattr(self._source, "labels", None)

    def __getitem__(self, index: int) -> Example:
        example = self._examples[index]
        if example is None:
            example = self._source[index]
            if self.mode == "decoded" and isinstance(example["image"], bytes):
                pixels = decode_image(example["image"], example["name"])
                pixels.flags.writeable = False  # all later readers share the pixels
                example = {**example, "image": pixels}
            self._examples[index] = example
        return example


def with_cache(source: Source, mode: CacheMode) -> Source:
    """Wrap `source` in a cache, unless `mode` is `none` or the source has this cache."""
    if mode not in get_args(CacheMode):
        raise unknown_name("cache", mode, get_args(CacheMode))
    if mode == "none" or (isinstance(source, CachedSource) and source.mode == mode):
        return source
    return CachedSource(source, mode)
