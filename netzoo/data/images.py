"""Batches of images for training and evaluation, on Grain, in threads.

`(seed, epoch, index)` decides which example is read and how it is augmented; see
`netzoo.data.batching` for what follows from that.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import grain
import numpy as np

from netzoo.data.batching import ENDLESS_BATCHES, generator, in_threads
from netzoo.data.decode import LazyImage, decode_image
from netzoo.data.files import ImageError
from netzoo.data.randaugment import rand_augment
from netzoo.data.source import Example, SkipCorrupt, Source, SourceError, skip_or_raise
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
    """How training images are augmented, one by one.

    The keys `augment.*` of a configuration have the same names; netzoo.tasks.classification.config
    has their defaults and ranges.

    Attributes:
      crop_scale: Bounds of the random crop's area, as fractions of the image's.
      crop_ratio: Bounds of its width over height.
      flip: Mirror half of the images left to right.
      randaugment_layers: Operations of RandAugment an image; 0 turns it off.
      randaugment_magnitude: Their strength, 0 to 10.
    """

    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float]
    flip: bool
    randaugment_layers: int
    randaugment_magnitude: float

    def __call__(self, example: Example, size: int, rng: np.random.Generator) -> np.ndarray:
        """Returns the image of `example`, augmented, as uint8 `[size, size, 3]`."""
        image = LazyImage(example["image"], example["name"])
        crop = sample_crop(image.height, image.width, rng, self.crop_scale, self.crop_ratio)
        pixels = resize_fast(image.crop(*crop), size, size)
        if self.flip:
            pixels = random_flip(pixels, rng)
        return rand_augment(pixels, rng, self.randaugment_layers, self.randaugment_magnitude)


def evaluation_image(
    image: bytes | np.ndarray,
    name: str,
    size: int,
    crop_pct: float,
    interpolation: str = "area",
) -> np.ndarray:
    """Prepares one image as evaluation and prediction see it: its resized centre.

    Args:
      image: The encoded file, or pixels uint8 `[H, W, 3]`.
      name: The file's name, for error messages.
      size: Side of the result in pixels.
      crop_pct: Share of the shorter side that is kept; see `resize_and_center_crop`.
      interpolation: See `resize`.

    Returns:
      Pixels, uint8 `[size, size, 3]`, RGB.

    Raises:
      ImageError: The file cannot be decoded.
    """
    pixels = decode_image(image, name) if isinstance(image, bytes) else image
    return resize_and_center_crop(pixels, size, crop_pct, interpolation)


def train_dataset(
    source: Source,
    *,
    batch_size: int,
    image_size: int,
    seed: int,
    augmentation: Augmentation,
    num_threads: int = 2,
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
      seed: Decides order and augmentation.
      augmentation: How images are augmented.
      num_threads: Threads that read and augment.
      shard: `(index, count)` of this process among those that share each batch. A process gets its
        rows of the same batch, so their number changes no image.
      skip_corrupt: Records the examples that cannot be read; the next sound one of the source
        replaces each. None stops at the first of them.

    Returns:
      An endless `grain.IterDataset` of `{"image": uint8 [B, S, S, 3], "label": int32 [B]}`, with B
      the rows of this process. `iter()` of it has `get_state` and `set_state`, and is what
      `grain.checkpoint.CheckpointSave` takes.

    Raises:
      ValueError: The batch is larger than the source, or the processes cannot divide it.
    """
    if batch_size > len(source):
        raise ValueError(
            f"batch_size {batch_size} is larger than the {len(source):,} examples of {source.name} "
            f"{source.split}; use at most {len(source)}."
        )
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed must be in [0, 2**63), found {seed}.")
    rows = _rows_of_process(batch_size, shard)
    batches = _TrainBatches(
        source, batch_size, rows, image_size, skip_corrupt, seed=seed, augmentation=augmentation
    )
    return in_threads(batches, num_threads)


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    image_size: int,
    crop_pct: float = 0.875,
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
      num_threads: Threads that read and resize.
      shard: As for `train_dataset`.
      skip_corrupt: Records the examples that cannot be read, whose `mask` is False. None stops at
        the first of them.

    Returns:
      Batches that can be iterated again and again, with a length.
    """
    return EvalBatches(
        source,
        batch_size,
        _rows_of_process(batch_size, shard),
        image_size,
        skip_corrupt,
        crop_pct=crop_pct,
        num_threads=num_threads,
    )


def _rows_of_process(batch_size: int, shard: tuple[int, int]) -> range:
    """Returns the rows of each batch that the process `shard`, `(index, count)`, makes."""
    index, count = shard
    if batch_size < 1 or batch_size % count:
        raise ValueError(
            f"batch_size must be a positive multiple of the {count} processes that share "
            f"each batch, found {batch_size}."
        )
    if not 0 <= index < count:
        raise ValueError(f"shard must be (index, count) with index below count, found {shard}.")
    return range(index * batch_size // count, (index + 1) * batch_size // count)


@dataclass(frozen=True)
class _Batches:
    """What batches of training and evaluation have in common."""

    source: Source
    batch_size: int  # over all processes
    rows: range  # those of this process
    image_size: int
    skip_corrupt: SkipCorrupt | None

    def _empty_batch(self) -> Batch:
        count, size = len(self.rows), self.image_size
        return {
            "image": np.zeros((count, size, size, 3), np.uint8),
            "label": np.zeros(count, np.int32),
        }


@dataclass(frozen=True)
class EvalBatches(_Batches):
    """Batches `{"image": uint8 [B, S, S, 3], "label": int32 [B], "mask": bool [B]}`.

    All have one shape, so that evaluation compiles once: the last is filled up with zeros, and
    `mask` is True where there is an example.
    """

    crop_pct: float
    num_threads: int

    def __len__(self) -> int:
        return -(-len(self.source) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return iter(in_threads(self, self.num_threads))

    def __getitem__(self, step: int) -> Batch:
        batch = self._empty_batch()
        batch["mask"] = np.zeros(len(self.rows), bool)
        indices = range(len(self.source))[step * self.batch_size :][
            self.rows.start : self.rows.stop
        ]
        for row, index in enumerate(indices):
            try:
                example = self.source[index]
                batch["image"][row] = evaluation_image(
                    example["image"], example["name"], self.image_size, self.crop_pct
                )
            except ImageError as error:
                skip_or_raise(self.skip_corrupt, error)
                continue
            batch["label"][row] = example["label"]
            batch["mask"][row] = True
        return batch


@dataclass(frozen=True)
class _TrainBatches(_Batches):
    """Random access to the endless sequence of training batches."""

    seed: int
    augmentation: Augmentation

    def __len__(self) -> int:
        return ENDLESS_BATCHES

    def __getitem__(self, step: int) -> Batch:
        epoch, step = divmod(step, len(self.source) // self.batch_size)
        batch = self._empty_batch()
        order = _epoch_order(self.seed, epoch, len(self.source))
        indices = order[step * self.batch_size :][self.rows.start : self.rows.stop].tolist()
        # Generators for the whole batch at once: between images, with cold caches, each takes
        # several times as long.
        rngs = [self._generator(epoch, index) for index in indices]
        for row, (index, rng) in enumerate(zip(indices, rngs, strict=True)):
            batch["image"][row], batch["label"][row] = self._image_and_label(epoch, index, rng)
        return batch

    def _generator(self, epoch: int, index: int) -> np.random.Generator:
        return generator(self.seed, _AUGMENT_STREAM, epoch, index)

    def _image_and_label(
        self, epoch: int, index: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        """Returns the augmented example at `index`, or the next sound one if it is corrupt.

        Order and augmentation stay functions of the seed and the position: a replacement takes the
        random numbers of the place, made anew since the corrupt example may have used some.
        """
        for following in range(index, index + len(self.source)):
            try:
                example = self.source[following % len(self.source)]
                return self._augment(example, rng), example["label"]
            except ImageError as error:
                skip_or_raise(self.skip_corrupt, error)
                last, rng = error, self._generator(epoch, index)
        raise SourceError(f"No example of {self.source.name} can be read; the last: {last}")

    def _augment(self, example: Example, rng: np.random.Generator) -> np.ndarray:
        try:
            return self.augmentation(example, self.image_size, rng)
        except Exception as error:
            error.add_note(f"while augmenting {example['name']}")
            raise


@functools.lru_cache(maxsize=2)  # threads work on neighbouring batches, of two epochs at most
def _epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    return generator(seed, _SHUFFLE_STREAM, epoch, 0).permutation(count)
