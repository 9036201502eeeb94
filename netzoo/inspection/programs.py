"""Compiled functions of a Predictor's network, its images in batches, and classes to explain."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import jax
import numpy as np

from netzoo.errors import UserError, printable, unknown_name
from netzoo.kernels import compiler_options, use_precision
from netzoo.models.endpoint_shapes import Layer, network_layers
from netzoo.tasks.classification.mix import normalize
from netzoo.tasks.classification.predictor import Predictor

# Images whose activations and gradients are in the memory at the same time.
MOST_IMAGES = 32
Images = Sequence[np.ndarray] | np.ndarray
Classes = Sequence[int | str] | np.ndarray | None
_PROGRAMS: WeakKeyDictionary[Predictor, dict[Hashable, Any]] = WeakKeyDictionary()


def compiled(predictor: Predictor, key: Hashable, function: Callable) -> jax.stages.Wrapped:
    """Return the compiled `function(variables, *arguments)` of a predictor, made once for a key.

    The function must not refer to the predictor, or the predictor would never be freed.
    """
    programs = _PROGRAMS.setdefault(predictor, {})
    if key not in programs:
        precisely = use_precision(predictor.precision)(function)
        programs[key] = jax.jit(precisely, compiler_options=compiler_options())
    return programs[key]


def layers_of(predictor: Predictor) -> list[Layer]:
    """Return the layers of a predictor's network; see `network_layers`."""
    programs = _PROGRAMS.setdefault(predictor, {})
    if "layers" not in programs:
        size = predictor.preprocessing.crop_size
        programs["layers"] = network_layers(predictor.model, predictor.variables, size)
    return programs["layers"]


def normalized(predictor: Predictor) -> Callable[[jax.Array], jax.Array]:
    """Return the function from pixels, 0 to 255, to the input of the network."""
    mean, std = predictor.preprocessing.mean, predictor.preprocessing.std
    return lambda pixels: normalize(pixels, mean, std)


def checked_images(predictor: Predictor, images: Images) -> np.ndarray:
    """Stack images from `predictor.preprocess`, uint8 `[n, height, width, 3]`.

    Raises:
      UserError: An image has another dtype or size.
    """
    size = predictor.preprocessing.crop_size
    for image in images:
        shape, dtype = getattr(image, "shape", ()), getattr(image, "dtype", type(image).__name__)
        if shape != (size, size, 3) or dtype != np.uint8:
            raise UserError(
                f"expected images uint8 [{size}, {size}, 3], got {dtype} {list(shape)}; pass them "
                "through predictor.preprocess"
            )
    return np.asarray(images, np.uint8).reshape(-1, size, size, 3)


def checked_classes(predictor: Predictor, images: np.ndarray, classes: Classes) -> np.ndarray:
    """Return the indices of the classes to explain, int32 `[n]`.

    Args:
      predictor: The predictor.
      images: The result of `checked_images`.
      classes: Index or name of a class for each image; None for the most probable classes.

    Raises:
      UserError: A class is unknown, or the numbers of images and of classes differ.
    """
    if classes is None:
        return probabilities(predictor, images).argmax(-1).astype(np.int32)
    if len(classes) != len(images):
        raise UserError(
            f"expected one class for each of the {len(images):,} images, got {len(classes):,}"
        )
    return np.array([_index(predictor.class_names, given) for given in classes], np.int32)


def _index(names: Sequence[str], given: int | str) -> int:
    if isinstance(given, str):
        if given not in names:
            raise unknown_name("class", printable(given), map(printable, names))
        return names.index(given)
    if not 0 <= given < len(names):
        raise UserError(f"class {given} does not exist; expected 0 to {len(names) - 1}")
    return int(given)


def probabilities(predictor: Predictor, images: np.ndarray) -> np.ndarray:
    """Return the probabilities `[n, classes]` of any number of preprocessed images."""
    size, found = predictor.batch_size, [np.zeros((0, len(predictor.class_names)), np.float32)]
    for first in range(0, len(images), size):
        found.append(predictor.probabilities(list(images[first : first + size])))
    return np.concatenate(found)


def padded_batches(
    predictor: Predictor, *arrays: np.ndarray
) -> Iterator[tuple[int, int, tuple[np.ndarray, ...]]]:
    """Divide arrays with the same first axis into batches of equal size, for one compilation.

    Yields:
      The first row, the number of rows, and the batches, which repeat their last row as padding.
    """
    size = min(MOST_IMAGES, predictor.batch_size, len(arrays[0]))
    for first in range(0, len(arrays[0]), max(size, 1)):
        parts = tuple(array[first : first + size] for array in arrays)
        count = len(parts[0])
        rows = np.minimum(np.arange(size), count - 1)
        yield first, count, tuple(part[rows] for part in parts)
