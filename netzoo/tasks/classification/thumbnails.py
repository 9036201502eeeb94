"""Small pictures of evaluated images, as `data:` addresses for a page."""

import base64
import contextlib
from collections.abc import Callable, Sequence

import numpy as np
import simplejpeg

from netzoo.data.files import ImageError
from netzoo.data.images import evaluation_image
from netzoo.data.source import Source
from netzoo.errors import UserError, note
from netzoo.tasks.classification.predictor import Predictor

# Returns images from `Predictor.preprocess` with a map of the regions that the network uses.
Explain = Callable[[Predictor, list[np.ndarray]], list[np.ndarray]]

SIDE = 176  # pixels; about 8 KB
_QUALITY = 78


def thumbnails(source: Source, crop_pct: float) -> Callable[[int], str | None]:
    """Return a function from the index of an example to its picture as a JPEG in `data:`.

    The picture shows the part of the image that the network sees. For an image that can no longer
    be read, the result is None.
    """

    def picture(index: int) -> str | None:
        try:
            example = source[index]
            pixels = evaluation_image(example["image"], example["name"], SIDE, crop_pct)
        except ImageError:
            return None
        return _address(pixels)

    return picture


def heat_maps(
    source: Source, predictor: Predictor, explain: Explain, indices: Sequence[int]
) -> dict[int, str]:
    """Return the explained pictures of examples by their index; leave out unreadable images.

    `explain` lays a map over images from `predictor.preprocess`. If the network has no such maps,
    the result is empty.
    """
    images = {}
    for index in indices:
        with contextlib.suppress(ImageError):
            images[index] = predictor.preprocess(source[index]["image"])
    try:
        explained = explain(predictor, [*images.values()])
    except UserError as error:
        note(f"the report has no heat maps: {error}")
        return {}
    return dict(zip(images, map(_address, explained), strict=True))


def _address(pixels: np.ndarray) -> str:
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
