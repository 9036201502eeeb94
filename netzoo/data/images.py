"""Batches of images for training and evaluation, on Grain, in threads.

`(seed, epoch, index)` decides which example is read and how it is distorted; see
`netzoo.data.batching` for what follows from that.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import grain
import numpy as np

from netzoo.data.batching import ENDLESS_BATCHES, generator, in_threads
from netzoo.data.cache import CacheMode, with_cache
from netzoo.data.corrupt import SkipCorrupt, pass_by
from netzoo.data.decode import cut_out, decode_image
from netzoo.data.files import ImageError
from netzoo.data.randaugment import RandAugment
from netzoo.data.source import Example, Source, SourceError
from netzoo.data.transforms import (
    random_flip,
    resize_and_center_crop,
    resize_fast,
    sample_crop,
)

Batch = dict[str, np.ndarray]

_SHUFFLE_STREAM, _AUGMENT_STREAM = 1, 2


@dataclass(frozen=True)
class Augmentation:
    """How training images are distorted.

    Attributes:
      crop_scale: Bounds of the random crop's area, as fractions of the image's.
      crop_ratio: Bounds of its width over height.
      flip: Mirror half of the images left to right.
      randaugment_layers: Operations of RandAugment an image; 0 turns it off.
      randaugment_magnitude: Their strength, 0 to 10.

    Raises:
      ValueError: If a value is out of range.
    """

    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True
    randaugment_layers: int = 0
    randaugment_magnitude: float = 9.0

    def __post_init__(self):
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale must rise within (0, 1], found {self.crop_scale}.")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio must be positive and rise, found {self.crop_ratio}.")
        RandAugment(self.randaugment_layers, self.randaugment_magnitude)

    def __call__(self, example: Example, size: int, rng: np.random.Generator) -> np.ndarray:
        """Returns the image of `example`, distorted, as uint8 `[size, size, 3]`."""

        def choose(height: int, width: int) -> tuple[int, int, int, int]:
            return sample_crop(height, width, rng, self.crop_scale, self.crop_ratio)

        image = resize_fast(cut_out(example["image"], example["name"], choose), size, size)
        if self.flip:
            image = random_flip(image, rng)
        if self.randaugment_layers:
            image = RandAugment(self.randaugment_layers, self.randaugment_magnitude)(image, rng)
        return image


def train_dataset(
    source: Source,
    *,
    batch_size: int,
    image_size: int,
    seed: int,
    augmentation: Augmentation | None = None,
    cache: CacheMode = "none",
    num_threads: int = 2,
    prefetch: int | None = None,
    shard: tuple[int, int] = (0, 1),
    skip_corrupt: SkipCorrupt | None = None,
) -> grain.IterDataset:
    """Makes the endless sequence of training batches.

    Every epoch is shuffled anew and has `len(source) // batch_size` batches; an example occurs
    in it at most once, and those left over after the last whole batch are dropped.

    Args:
      source: The examples.
      batch_size: Examples a batch, over all processes.
      image_size: Side of the images in pixels.
      seed: Decides order and distortions.
      augmentation: How images are distorted; None is the default `Augmentation`.
      cache: Keep the source in memory: `none`, `encoded` files or `decoded` pixels.
      num_threads: Threads that read and distort.
      prefetch: Batches kept ready; None is twice the threads, and at least 4.
      shard: `(index, count)` of this process among those that share each batch. A process gets its
        rows of the same batch, so their number changes no image.
      skip_corrupt: Takes note of the examples that cannot be read, each of which is replaced by the
        next sound one of the source; None stops with the error of the first.

    Returns:
      An endless `grain.IterDataset` of `{"image": uint8 [B, S, S, 3], "label": int32 [B]}`, with B
      the rows of this process. `iter()` of it has `get_state` and `set_state`, and is what
      `grain.checkpoint.CheckpointSave` takes.

    Raises:
      ValueError: If the batch is larger than the source or not divisible by the processes.
    """
    if batch_size > len(source):
        raise ValueError(
            f"batch_size {batch_size} is larger than the {len(source):,} examples of {source.name} "
            f"{source.split}; use at most {len(source)}."
        )
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be in [0, 2**63), found {seed}.")
    batches = _TrainBatches(
        with_cache(source, cache),
        image_size,
        _Rows.of(batch_size, shard),
        seed,
        augmentation or Augmentation(),
        skip_corrupt,
    )
    return in_threads(batches, num_threads, prefetch)


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    image_size: int,
    crop_pct: float = 0.875,
    cache: CacheMode = "none",
    num_threads: int = 2,
    shard: tuple[int, int] = (0, 1),
    skip_corrupt: SkipCorrupt | None = None,
) -> "EvalBatches":
    """Makes the batches of one pass over every example, exactly once and in order.

    Args:
      source: The examples.
      batch_size: Examples a batch, over all processes.
      image_size: Side of the images in pixels.
      crop_pct: Share of the shorter side that is kept; see `resize_and_center_crop`.
      cache: As for `train_dataset`.
      num_threads: Threads that read and resize.
      shard: As for `train_dataset`.
      skip_corrupt: Takes note of the examples that cannot be read, whose `mask` is False; None
        stops with the error of the first.

    Returns:
      Batches that can be iterated again and again, with a length.
    """
    rows = _Rows.of(batch_size, shard)
    return EvalBatches(
        with_cache(source, cache), image_size, rows, crop_pct, num_threads, skip_corrupt
    )


class EvalBatches:
    """Batches `{"image": uint8 [B, S, S, 3], "label": int32 [B], "mask": bool [B]}`.

    All have one shape, so that evaluation compiles once: the last is filled up with zeros, and
    `mask` is True where there is an example.
    """

    def __init__(
        self,
        source: Source,
        size: int,
        rows: "_Rows",
        crop_pct: float,
        num_threads: int,
        skip_corrupt: SkipCorrupt | None,
    ):
        self._source = source
        self._size = size
        self._rows = rows
        self._crop_pct = crop_pct
        self._num_threads = num_threads
        self._skip_corrupt = skip_corrupt

    def __len__(self) -> int:
        return -(-len(self._source) // self._rows.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return iter(in_threads(self, self._num_threads, prefetch=None))

    def __getitem__(self, step: int) -> Batch:
        batch = _empty_batch(self._rows.count, self._size)
        batch["mask"] = np.zeros(self._rows.count, bool)
        first = step * self._rows.batch_size + self._rows.first
        for row, index in enumerate(range(first, min(first + self._rows.count, len(self._source)))):
            try:
                example = self._source[index]
                image = example["image"]
                if isinstance(image, bytes):
                    image = decode_image(image, example["name"])
            except ImageError as error:
                pass_by(self._skip_corrupt, error)
                continue
            batch["image"][row] = resize_and_center_crop(image, self._size, self._crop_pct)
            batch["label"][row] = example["label"]
            batch["mask"][row] = True
        return batch


@dataclass(frozen=True)
class _Rows:
    """The rows of each batch that this process makes."""

    batch_size: int
    first: int
    count: int

    @classmethod
    def of(cls, batch_size: int, shard: tuple[int, int]) -> "_Rows":
        index, count = shard
        if batch_size < 1 or batch_size % count:
            raise ValueError(
                f"batch_size must be a positive multiple of the {count} processes that share "
                f"each batch, found {batch_size}."
            )
        if not 0 <= index < count:
            raise ValueError(f"shard must be (index, count) with index below count, found {shard}.")
        return cls(batch_size, index * (batch_size // count), batch_size // count)


class _TrainBatches:
    """Random access to the endless sequence of training batches."""

    def __init__(
        self,
        source: Source,
        size: int,
        rows: _Rows,
        seed: int,
        augmentation: Augmentation,
        skip_corrupt: SkipCorrupt | None,
    ):
        self._source = source
        self._size = size
        self._rows = rows
        self._seed = seed
        self._augmentation = augmentation
        self._skip_corrupt = skip_corrupt
        # Threads work on neighbouring batches, so two epochs are in use at most.
        self._order = functools.lru_cache(maxsize=2)(self._shuffle)

    def __len__(self) -> int:
        return ENDLESS_BATCHES

    def __getitem__(self, step: int) -> Batch:
        epoch, step = divmod(step, len(self._source) // self._rows.batch_size)
        first = step * self._rows.batch_size + self._rows.first
        batch = _empty_batch(self._rows.count, self._size)
        indices = self._order(epoch)[first : first + self._rows.count].tolist()
        # All in one go: between images, with cold caches, each takes several times as long.
        rngs = [generator(self._seed, _AUGMENT_STREAM, epoch, index) for index in indices]
        for row, (index, rng) in enumerate(zip(indices, rngs, strict=True)):
            try:
                self._fill(batch, row, index, rng)
            except ImageError as error:
                self._replace(batch, row, index, epoch, error)
        return batch

    def _fill(self, batch: Batch, row: int, index: int, rng: np.random.Generator) -> None:
        example = self._source[index]
        try:
            batch["image"][row] = self._augmentation(example, self._size, rng)
        except ImageError:
            raise
        except Exception as error:
            error.add_note(f"while distorting {example['name']}")
            raise
        batch["label"][row] = example["label"]

    def _replace(self, batch: Batch, row: int, index: int, epoch: int, error: ImageError) -> None:
        """Puts the next sound example in the place of a corrupt one.

        Order and distortions stay functions of the seed and the position: the random numbers are
        those of the place, made anew since the corrupt example may have used some.
        """
        for following in range(index + 1, index + len(self._source)):
            pass_by(self._skip_corrupt, error)
            rng = generator(self._seed, _AUGMENT_STREAM, epoch, index)
            try:
                return self._fill(batch, row, following % len(self._source), rng)
            except ImageError as next_error:
                error = next_error
        raise SourceError(f"No example of {self._source.name} can be read; the last: {error}")

    def _shuffle(self, epoch: int) -> np.ndarray:
        return generator(self._seed, _SHUFFLE_STREAM, epoch, 0).permutation(len(self._source))


def _empty_batch(count: int, size: int) -> Batch:
    return {
        "image": np.zeros((count, size, size, 3), np.uint8),
        "label": np.zeros(count, np.int32),
    }
