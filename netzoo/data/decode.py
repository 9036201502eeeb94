"""From the bytes of an image file to RGB pixels.

Pillow decodes, not OpenCV: it says why a file cannot be read, where OpenCV returns None or,
depending on its release, a partly grey image, and it honours CMYK, palettes and transparency.
Plain JPEGs, the bulk of every data set, take a shorter path: simplejpeg runs the same decoder
(libjpeg-turbo, with equal pixels) without Pillow's four bytes a pixel. Colour profiles are ignored,
as in the data pipelines of the published models.
"""

import contextlib
import io
import warnings
from typing import BinaryIO

import numpy as np
import simplejpeg
from PIL import Image

from netzoo.data.files import ImageError
from netzoo.errors import printable

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_JPEG_FRAMES = b"\xff\xc0", b"\xff\xc1"  # of files that hold their rows in order
_MAX_SCANS = 200  # encoders write some ten; each costs a pass over all pixels, and few bytes
_MAX_SEGMENTS = 4096  # before the scan; profiles and other metadata fill some hundred at most
_CONTEXT_ROWS = 16  # more than libjpeg reads below a row to smooth its colours
_MAY_TURN = b"Exif\0\0", b"tiff:Orientation"  # what metadata with an orientation hold
_EXIF_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow knows forty more, among them EPS, for which it runs another program.
_FORMATS = (
    "JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000", "ICO", "TGA",
)  # fmt: skip
# Instead of this warning `_check_size` raises an error that names the file.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decodes an image file.

    Greyscale is repeated over the channels, 16-bit samples are scaled to 8 bits, CMYK is
    converted (inverted or not, as its Adobe marker says), transparency is composited over white,
    and the image is turned as its EXIF orientation says. An animation gives its first frame.

    `data` is a JPEG (also of several images), PNG, GIF, WebP, TIFF, BMP, PPM, AVIF, JPEG 2000, ICO
    or TGA, and `name` the file's name, for error messages.

    Returns:
      Pixels, uint8 `[H, W, 3]`, RGB, contiguous and writable.

    Raises:
      ImageError: If the bytes are not an image, are truncated or damaged, or declare more than
        `PIL.Image.MAX_IMAGE_PIXELS` pixels (a decompression bomb).
    """
    if _plain_jpeg_header(data, name):
        # It refuses whatever libjpeg warns of; Pillow says why, or reads the file.
        with contextlib.suppress(ValueError):
            return simplejpeg.decode_jpeg(data)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(image)
            if image.format in ("JPEG", "MPO") and data.count(_JPEG_SCAN) > _MAX_SCANS:
                raise ImageError(f"it has more than {_MAX_SCANS} scans")
            image.load()
            turn = _TRANSPOSE.get(_orientation(image))
            rgb = _to_rgb(image)
            return np.array(rgb if turn is None else rgb.transpose(turn))
    except Exception as error:
        # Pillow's plugins raise whatever their parsing of hostile bytes runs into (OSError,
        # SyntaxError, struct.error, IndexError, ...): for the caller it is all one thing.
        raise ImageError(
            f"Cannot decode {printable(name)} ({len(data):,} bytes): {_reason(error)}."
        ) from error


class LazyImage:
    """An image that is decoded only as far down as the rectangle that is cut out of it.

    `height` and `width` are in pixels, after the turn that the file's EXIF orientation asks for.
    Errors are those of `decode_image`.
    """

    def __init__(self, image: bytes | np.ndarray, name: str):
        """Reads the size of a file or of pixels, where it can from the header alone."""
        self._name = name
        header = _plain_jpeg_header(image, name) if isinstance(image, bytes) else None
        if header:
            self._image = image
            self.height, self.width, self._frame = header
        else:
            self._image = decode_image(image, name) if isinstance(image, bytes) else image
            self.height, self.width = self._image.shape[:2]

    def crop(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Returns a rectangle of the pixels of `decode_image`, the same to the bit; a view.

        Damage below the rectangle, other than a missing end of the file, may go unnoticed.
        """
        image = self._image
        pixels = self._first_rows(image, top + height) if isinstance(image, bytes) else image
        return pixels[top : top + height, left : left + width]

    def _first_rows(self, data: bytes, rows: int) -> np.ndarray:
        """Decodes at least `rows` rows of a plain JPEG, and all where the first ones cannot be."""
        # The header is changed to declare fewer rows. libjpeg then warns of the data left over, so
        # a truncated file cannot be told by warnings here, only by its missing end.
        frame, rows = self._frame, rows + _CONTEXT_ROWS
        if frame is not None and rows < self.height and data.endswith(_JPEG_END):
            start = frame + 5  # after marker, length and precision
            shortened = b"".join((data[:start], rows.to_bytes(2), data[start + 2 :]))
            with contextlib.suppress(ValueError):
                return simplejpeg.decode_jpeg(shortened, strict=False)
        return decode_image(data, self._name)


def check_header(file: BinaryIO, name: str) -> None:
    """Checks that an open file is an image, without decoding its pixels.

    Raises:
      ImageError: If the file is empty, not an image, or a decompression bomb.
    """
    try:
        with Image.open(file, formats=_FORMATS) as image:
            _check_size(image)
    except Exception as error:
        raise ImageError(f"{printable(name)} is not a readable image: {_reason(error)}.") from error


def _check_size(image: Image.Image) -> None:
    # Pillow itself only warns between one and two times its limit.
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ImageError(
            f"it declares {image.width} x {image.height} pixels, over the limit of {limit:,} "
            "(PIL.Image.MAX_IMAGE_PIXELS)"
        )


def _plain_jpeg_header(data: bytes, name: str) -> tuple[int, int, int | None] | None:
    """Reads the header of a JPEG in colour or grey; returns None for what Pillow has to see.

    Returns:
      Height, width, and where the frame starts that has them, None if it is not the only one.
    """
    if not data.startswith(_JPEG_START):
        return None
    at, frames = len(_JPEG_START), []
    for _ in range(_MAX_SEGMENTS):
        marker = data[at : at + 2]
        if marker == _JPEG_SCAN:
            break
        if marker[:1] != b"\xff" or marker[1:] == b"\xff":  # a gap between segments
            return None
        if marker in _JPEG_FRAMES:
            frames.append(at)
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    else:  # Pillow would keep each of millions
        raise ImageError(f"Cannot decode {printable(name)}: over {_MAX_SEGMENTS:,} segments.")
    if any(mark in data[:at] for mark in _MAY_TURN):
        return None
    frame = frames[0] if len(frames) == 1 else None
    # There are several scans if the file is progressive, or has one for each colour.
    single = frame is not None and data[at + 4 : at + 5] == data[frame + 9 : frame + 10]
    if not single and data.count(_JPEG_SCAN) > _MAX_SCANS:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    limit = Image.MAX_IMAGE_PIXELS
    too_large = limit is not None and height * width > limit
    return None if too_large or colours not in ("YCbCr", "Gray") else (height, width, frame)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        # A good image with damaged metadata is kept.
        return 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        samples = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((samples + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ImageError("floating-point pixels have no known range; save it with 8 or 16 bits")
    if image.mode == "CMYK" and image.format in ("JPEG", "MPO") and "adobe" not in image.info:
        # Pillow takes every four-channel JPEG for Adobe's inverted kind; without the marker the
        # samples are plain ink amounts, so its inversion is undone.
        image = Image.fromarray(255 - np.asarray(image), mode="CMYK")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "no known image format"
    return printable(f"{error}".rstrip(".")) or type(error).__name__
