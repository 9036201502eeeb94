"""Small pictures of evaluated images, as addresses that a page can hold."""

import base64
from collections.abc import Callable

import simplejpeg

from netzoo.data.files import ImageError
from netzoo.data.images import evaluation_image
from netzoo.data.source import Source

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
        data = simplejpeg.encode_jpeg(pixels, quality=_QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"

    return picture
