"""Runs of image classification on the page: classes, heat maps and examples."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from netzoo.data.batching import evenly_spaced
from netzoo.data.decode import decode_image
from netzoo.data.source import Source, class_text, classes_of
from netzoo.data.sources.open import open_source
from netzoo.errors import UserError, note, printable
from netzoo.files import replacing
from netzoo.inspection import default_layer, grad_cam, layers_of, overlay
from netzoo.json_files import read_json
from netzoo.tasks.classification.predictor import Predictor
from netzoo.workdir import EVAL_FILE

MOST_EXAMPLES, _LOOKED_AT, _EXAMPLE_SIDE = 10, 200, 480
_TOP = 5
_SHOWN = 512  # pixels of the heat map's side, at least


class Explained(NamedTuple):
    """An image with its classes and the heat map of the most probable class."""

    scores: dict[str, float]  # the most probable classes, best first
    heat_map: np.ndarray  # uint8 [side, side, 3]


class ImageRun:
    """A run of image classification.

    Attributes:
      title: Name of the network and of the run.
      caption: Accuracy on the test split, if the run has been evaluated.
      layers: Names of the layers whose heat maps can be drawn.
      layer: Name of the layer that is shown first.
    """

    def __init__(self, workdir: Path, config: ConfigDict, predictor: Predictor):
        """Compile the network and its heat map.

        Raises:
          UserError: The network has no layer with a heat map.
        """
        self._predictor, self._config = predictor.with_batch_size(1), config
        layers = layers_of(self._predictor)
        self.layers = [layer.name for layer in layers if layer.grid]
        self.layer = default_layer(layers).name
        self.title, self.caption = f"{config.model.name} ({workdir.name})", _caption(workdir)
        side = predictor.preprocessing.crop_size
        self.explain(np.zeros((side, side, 3), np.uint8), self.layer)

    def explain(self, image: bytes | np.ndarray, layer: str) -> Explained:
        """Classify an image, and draw Grad-CAM of its most probable class at a layer.

        Raises:
          UserError: The image cannot be decoded, or the layer is unknown.
        """
        pixels = self._predictor.preprocess(image)
        probabilities = self._predictor.probabilities([pixels])
        (best,) = self._predictor.top_k(probabilities, _TOP)
        (heat,) = grad_cam(self._predictor, [pixels], layer=layer)
        factor = -(-_SHOWN // len(pixels))
        large = [_enlarged(x, factor) for x in (pixels, heat)]
        return Explained(dict(best), overlay(large[0], np.clip(large[1], 0, 1)))

    def examples(self, folder: Path) -> list[tuple[Path, str]]:
        """Write images of the test split to a folder; return their paths and classes.

        Without the data, the list is empty, and a notice says why.
        """
        data = self._config.data
        try:
            if not data.test_split:
                return []
            source = open_source(data.source, data.test_split, data.data_dir, True)
            chosen = _of_every_class(source)
            return [_written(source, index, folder) for index in chosen]
        except (UserError, OSError) as error:
            note(f"{self.title}: the page has no examples: {error}")
            return []


def _caption(workdir: Path) -> str:
    """Return the accuracy of `eval.json`, or ""."""
    try:
        shape = {"accuracy": float, "interval": [float, float], "count": int, "split": str}
        found = read_json(workdir / EVAL_FILE, shape)
    except (UserError, OSError):
        return ""
    low, high = found["interval"]
    return (
        f"Accuracy {found['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}) on "
        f"{found['count']:,} images of {printable(found['split'])}"
    )


def _enlarged(image: np.ndarray, factor: int) -> np.ndarray:
    height, width = image.shape[:2]
    return cv2.resize(image, (width * factor, height * factor), interpolation=cv2.INTER_CUBIC)


def _of_every_class(source: Source) -> list[int]:
    """Return the indices of a few examples, with as many classes as possible."""
    seen: dict[tuple[int, ...], list[int]] = {}
    for index in evenly_spaced(len(source), _LOOKED_AT).tolist():
        seen.setdefault(classes_of(source[index]["label"]), []).append(index)
    rounds = range(max(map(len, seen.values()), default=0))
    in_turn = [mine[n] for n in rounds for _, mine in sorted(seen.items()) if n < len(mine)]
    return in_turn[:MOST_EXAMPLES]


def _written(source: Source, index: int, folder: Path) -> tuple[Path, str]:
    """Write an example without loss, and no larger than the page shows it."""
    example = source[index]
    image, name = example["image"], example["name"]
    pixels = decode_image(image, name) if isinstance(image, bytes) else image
    shown = Image.fromarray(pixels)
    shown.thumbnail((_EXAMPLE_SIDE, _EXAMPLE_SIDE), Image.Resampling.LANCZOS)
    path = folder / f"example_{index}.png"
    with replacing(path) as file:
        shown.save(file, "PNG")
    return path, class_text(example["label"], source.class_names)
