"""Batches of images for training and evaluation, loaded in threads by Grain.

`(seed, epoch, index)` determines the example and its augmentation; see `netzoo.data.batching`.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from netzoo.data.batching import ENDLESS_BATCHES, evenly_spaced, generator, in_threads
from netzoo.data.decode import LazyImage, decode_image
from netzoo.data.epoch_order import ClassBalance, epoch_order
from netzoo.data.files import ImageError
from netzoo.data.policies import POLICIES, color_jitter, rand_augment
from netzoo.data.source import (
    Example,
    SkipCorrupt,
    Source,
    SourceError,
    is_multi_label,
    skip_or_raise,
)
from netzoo.data.transforms import (
    random_erase,
    random_flip,
    resize_and_center_crop,
    resize_fast,
    sample_crop,
)
from netzoo.errors import printable, unknown_name

if TYPE_CHECKING:
    import grain

Batch = dict[str, np.ndarray]
# Maps an example, the side of the result and a random generator to uint8 `[size, size, 3]`.
Augment = Callable[[Example, int, np.random.Generator], np.ndarray]

_AUGMENT_STREAM = 2

# Maps values of `augment.custom` to operations on an image; user modules may add more. A function
# takes an image, uint8 [size, size, 3], and a random generator, and returns an image.
AUGMENTATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {}


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of a training image.

    The configuration keys `augment.*` have the same names, except `mean`, which is `data.mean`;
    `netzoo.tasks.classification.config` defines their defaults and ranges.

    Attributes:
      crop_scale: Bounds of the random crop's area, as fractions of the image area.
      crop_ratio: Bounds of the crop's aspect ratio, width over height.
      flip: Whether to mirror half of the images left to right.
      randaugment_layers: Number of RandAugment operations per image; 0 turns RandAugment off.
      randaugment_magnitude: Strength of the RandAugment operations, 0 to 10.
      policy: `"randaugment"`, or a key of `netzoo.data.policies.POLICIES`.
      color_jitter: Strengths of brightness, contrast, saturation and hue; see
        `netzoo.data.policies.color_jitter`.
      custom: Key in `AUGMENTATIONS` of a last operation; None for none.
      erasing_prob: Probability that a rectangle of the image is erased.
      erasing_area: Bounds of the rectangle's area, as fractions of the image area.
      erasing_ratio: Bounds of the rectangle's aspect ratio, width over height.
      erasing_fill: `"noise"` (uniform and independent values) or `"mean"`.
      mean: Mean of red, green and blue, 0 to 255, for `"mean"`.

    Raises:
      UserError: `custom` is unknown.
    """

    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float]
    flip: bool
    randaugment_layers: int
    randaugment_magnitude: float
    policy: str = "randaugment"
    color_jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    custom: str | None = None
    erasing_prob: float = 0.0
    erasing_area: tuple[float, float] = (0.02, 1 / 3)
    erasing_ratio: tuple[float, float] = (0.3, 1 / 0.3)
    erasing_fill: str = "noise"
    mean: Sequence[float] = (127.5, 127.5, 127.5)

    def __post_init__(self):
        if self.custom is not None and self.custom not in AUGMENTATIONS:
            raise unknown_name("augmentation", self.custom, AUGMENTATIONS)

    def __call__(self, example: Example, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return the augmented image of `example`, uint8 `[size, size, 3]`."""
        image = LazyImage(example["image"], example["name"])
        try:
            crop = sample_crop(image.height, image.width, rng, self.crop_scale, self.crop_ratio)
            pixels = resize_fast(image.crop(*crop), size, size)
            if self.flip:
                pixels = random_flip(pixels, rng)
            pixels = self._distort(pixels, rng)
        except (cv2.error, MemoryError) as error:
            raise _cannot_transform(example["name"], error) from error
        return AUGMENTATIONS[self.custom](pixels, rng) if self.custom else pixels

    def _distort(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.policy != "randaugment":
            pixels = POLICIES[self.policy](pixels, rng)
        elif self.randaugment_layers:
            layers, magnitude = self.randaugment_layers, self.randaugment_magnitude
            pixels = rand_augment(pixels, rng, layers, magnitude)
        if any(self.color_jitter):
            pixels = color_jitter(pixels, rng, self.color_jitter)
        if self.erasing_prob:
            box = self.erasing_prob, self.erasing_area, self.erasing_ratio
            color = self.mean if self.erasing_fill == "mean" else None
            pixels = random_erase(pixels, rng, *box, color)
        return pixels


def evaluation_image(
    image: bytes | np.ndarray,
    name: str,
    size: int,
    crop_pct: float,
    interpolation: str = "area",
    crop_mode: str = "center",
) -> np.ndarray:
    """Return an image for evaluation or prediction; see `resize_and_center_crop`.

    `image` is an encoded file or pixels; `name` is the file name for error messages.

    Raises:
      ImageError: The image cannot be decoded or resized.
    """
    pixels = decode_image(image, name) if isinstance(image, bytes) else image
    try:
        return resize_and_center_crop(pixels, size, crop_pct, interpolation, crop_mode)
    except (cv2.error, MemoryError) as error:
        raise _cannot_transform(name, error) from error


def _cannot_transform(name: str, error: Exception) -> ImageError:
    """Return the error of an image for an error of OpenCV or a lack of memory."""
    reason = printable(" ".join(str(error).split())) or "out of memory"
    return ImageError(f"Cannot transform {printable(name)}: {reason}.")


@dataclass(frozen=True)
class _Batches:
    """The base of training and evaluation batches.

    In batches of a multi-label source, `label` is float32 `[B, classes]` instead of int32 `[B]`.

    Attributes:
      source: The examples.
      batch_size: Examples per batch, over all processes.
      image_size: Side of the images in pixels.
      num_threads: Threads that read and process images.
      shard: `(index, count)` of this process among those that share each batch. The batch does not
        depend on their number; each process gets its own rows of it.
      skip_corrupt: Records unreadable examples; None stops at the first of them.
    """

    source: Source
    _: KW_ONLY
    batch_size: int
    image_size: int
    num_threads: int = 2
    shard: tuple[int, int] = (0, 1)
    skip_corrupt: SkipCorrupt | None = None

    def __post_init__(self):
        index, count = self.shard
        if not 0 <= index < count:
            raise ValueError(f"shard {self.shard}; expected (index, count) with 0 <= index < count")
        if self.batch_size < 1 or self.batch_size % count:
            raise ValueError(
                f"batch_size {self.batch_size}; expected a multiple of {count}, the number of "
                "processes"
            )
        if self.image_size < 1:
            raise ValueError(f"image_size {self.image_size}; expected at least 1")

    def __iter__(self) -> "grain.DatasetIterator":
        return iter(in_threads(self, self.num_threads))

    def _start_batch(self, order: np.ndarray, step: int, size: int) -> tuple[Batch, list[Any]]:
        """Return a batch without its images, and the entries of `order` that this process reads."""
        process, count = self.shard
        rows = self.batch_size // count
        first = step * self.batch_size + process * rows
        image, label = np.empty((rows, size, size, 3), np.uint8), np.zeros(rows, np.int32)
        if is_multi_label(self.source):
            label = np.zeros((rows, len(self.source.class_names)), np.float32)
        return {"image": image, "label": label}, order[first : first + rows].tolist()


@dataclass(frozen=True)
class EvalBatches(_Batches):
    """Batches with every example exactly once, in order.

    They are `{"image": uint8 [B, S, S, 3], "label": int32 [B], "mask": bool [B]}`, where B is the
    number of rows of this process. All have the same shape, so that evaluation compiles once. The
    last batch is padded with zeros, and `mask` is True for readable examples.

    Attributes:
      crop_pct: Share of the shorter side to keep; see `resize_and_center_crop`.
      interpolation: How images are resized; see `resize_and_center_crop`.
      crop_mode: Whether images keep their aspect ratio; see `resize_and_center_crop`.
      limit: Maximum number of examples, evenly spaced; None for all.
    """

    _: KW_ONLY
    crop_pct: float = 0.875
    interpolation: str = "area"
    crop_mode: str = "center"
    limit: int | None = None

    def __len__(self) -> int:
        return -(-len(self._indices) // self.batch_size)

    @functools.cached_property
    def _indices(self) -> np.ndarray:
        return evenly_spaced(len(self.source), self.limit)

    def __getitem__(self, step: int) -> Batch:
        batch, indices = self._start_batch(self._indices, step, self.image_size)
        batch["mask"] = np.zeros(len(batch["image"]), bool)
        for row, index in enumerate(indices):
            try:
                example = self.source[index]
                batch["image"][row] = evaluation_image(
                    *(example["image"], example["name"], self.image_size),
                    *(self.crop_pct, self.interpolation, self.crop_mode),
                )
            except ImageError as error:
                skip_or_raise(self.skip_corrupt, error)
                continue
            batch["label"][row] = example["label"]
            batch["mask"][row] = True
        batch["image"][~batch["mask"]] = 0
        return batch


@dataclass(frozen=True)
class TrainBatches(_Batches):
    """Endless batches for training.

    Every epoch is reshuffled and has `len(source) // batch_size` batches. An example occurs at most
    once per epoch, and the remainder after the last full batch is dropped. With `repeats`, an epoch
    has the same number of batches but fewer examples, and the copies of an example follow each
    other. With `balance`, an epoch has examples of rare classes several times, each time with
    another augmentation. If corrupt examples are skipped, the next readable example of the source
    replaces each of them.

    Batches are `{"image": uint8 [B, S, S, 3], "label": int32 [B]}`, where B is the number of rows
    of this process. Iterators have `get_state` and `set_state`, and work with
    `grain.checkpoint.CheckpointSave`.

    Attributes:
      seed: Seed of the order and the augmentation.
      augmentation: The augmentation of each image, usually an `Augmentation`.
      repeats: Copies of each example, which are augmented differently (Hoffer et al., "Augment your
        batch", arXiv:1901.09335).
      image_sizes: Pairs of an epoch, counted from 0, and the side of the images from then on, in
        increasing order. Epochs before the first pair have `image_size`.
      balance: Makes all classes equally frequent; None keeps the frequencies of the source.

    Raises:
      ValueError: The batch is larger than the source, or a number is out of range.
    """

    _: KW_ONLY
    seed: int
    augmentation: Augment
    repeats: int = 1
    image_sizes: Sequence[tuple[int, int]] = ()
    balance: ClassBalance | None = None

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed {self.seed}; expected 0 to 2**64 - 1")
        if self.repeats < 1:
            raise ValueError(f"repeats {self.repeats}; expected at least 1")
        if self.batch_size > len(self.source):
            raise ValueError(
                f"batch_size {self.batch_size} is larger than the {len(self.source):,} examples of "
                f"{self.source.name} {self.source.split}; use at most {len(self.source)}."
            )

    def __len__(self) -> int:
        return ENDLESS_BATCHES

    def __getitem__(self, step: int) -> Batch:
        epoch, step = divmod(step, len(self.source) // self.batch_size)
        order = epoch_order(self.seed, epoch, len(self.source), self.repeats, self.balance)
        size = [self.image_size, *(size for first, size in self.image_sizes if first <= epoch)][-1]
        batch, copies = self._start_batch(order, step, size)
        # Create all generators of the batch at once: between images, with cold caches, each takes
        # several times as long.
        rngs = [generator(self.seed, _AUGMENT_STREAM, epoch, *copy) for copy in copies]
        for row, ((index, copy), rng) in enumerate(zip(copies, rngs, strict=True)):
            image, label = self._image_and_label(size, epoch, index, copy, rng)
            batch["image"][row], batch["label"][row] = image, label
        return batch

    def _image_and_label(
        self, size: int, epoch: int, index: int, copy: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, int | np.ndarray]:
        """Return the augmented example at `index`, or the next readable one if it is corrupt.

        A replacement restarts the generator of its position, because the corrupt example may have
        used it. Order and augmentation therefore stay functions of the seed and the position.
        """
        for following in range(index, index + len(self.source)):
            try:
                example = self.source[following % len(self.source)]
                return self._augment(example, size, rng), example["label"]
            except ImageError as error:
                skip_or_raise(self.skip_corrupt, error)
                last, rng = error, generator(self.seed, _AUGMENT_STREAM, epoch, index, copy)
        raise SourceError(
            f"No example of {self.source.name} can be read; replace the data. Last error: {last}"
        )

    def _augment(self, example: Example, size: int, rng: np.random.Generator) -> np.ndarray:
        try:
            return self.augmentation(example, size, rng)
        except Exception as error:
            error.add_note(f"while augmenting {example['name']}")
            raise
