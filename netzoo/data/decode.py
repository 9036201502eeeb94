"""Decodes image files to RGB pixels.

The decoder is Pillow, which reports why a file cannot be read and supports CMYK, palettes and
transparency. For a damaged file, OpenCV returns None or, in some releases, a partly grey image.
Plain JPEGs, the bulk of every data set, take a faster path: simplejpeg runs the same decoder
(libjpeg-turbo, with equal pixels) without Pillow's four bytes per pixel. Colour profiles are
ignored, as in the data pipelines of the published models.
"""

import contextlib
import io
import re
import struct
import warnings
from typing import BinaryIO

import numpy as np
import simplejpeg
from PIL import Image

from netzoo.data.files import NOT_DECODED, ImageError
from netzoo.errors import printable

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_SCAN = int.from_bytes(_JPEG_SCAN)
_FRAMES = 0xFFC0, 0xFFC1  # baseline and sequential: rows in order
_segment = struct.Struct(">HH").unpack_from  # marker and length
_MAX_SCANS = 200  # encoders write about ten; each takes a pass over all pixels, but few bytes
_MAX_SEGMENTS = 4096  # before the scan; metadata fill a few hundred at most
_CONTEXT_ROWS = 1  # libjpeg also reads the next row of subsampled colours, to interpolate them
_MAY_TURN = b"Exif\0\0", b"tiff:Orientation"  # marks metadata with an orientation
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
# Pillow supports forty more formats, including EPS, for which it runs another program.
_FORMATS = (
    "JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000", "ICO", "TGA",
)  # fmt: skip
# Other formats of files that are named like images, by their first bytes.
_NOT_DECODED = {
    "HEIF, the format of many telephones": rb".{4}ftyp(hei[cmsx]|hev[cx]|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "PSD": rb"8BPS",
    "SVG": rb"\s*(<\?xml.*)?<svg",
    "a web page": rb"(?i)\s*<(!doctype html|html)",
    "PDF": rb"%PDF",
    "a video": rb".{4}ftyp",
}
_FIRST_BYTES = 512
# `_check_size` raises an error that names the file, instead of this warning.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode an image file.

    Greyscale is repeated over the channels, 16-bit samples are scaled to 8 bits, CMYK is converted
    (inverted according to its Adobe marker), transparency is composited over white, and the EXIF
    orientation is applied. Only the first frame of an animation is decoded. `data` is a JPEG
    (including MPO), PNG, GIF, WebP, TIFF, BMP, PPM, AVIF, JPEG 2000, ICO or TGA file. `name` is the
    file name for error messages.

    Returns:
      Pixels, uint8 `[H, W, 3]`, RGB, contiguous and writable.

    Raises:
      ImageError: The data are not an image, are truncated or damaged, or declare more than
        `PIL.Image.MAX_IMAGE_PIXELS` pixels (a decompression bomb).
    """
    if _plain_jpeg_header(data, name):
        # simplejpeg rejects files that libjpeg warns about; Pillow reads them or explains why not.
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
        # Pillow's plugins raise many types of errors for damaged data (OSError, SyntaxError,
        # struct.error, IndexError, ...); callers get one type.
        raise ImageError(
            f"Cannot decode {printable(name)} ({len(data):,} bytes): "
            f"{_reason(error, data[:_FIRST_BYTES])}."
        ) from error


class LazyImage:
    """An image whose decoding stops below the rectangle to crop.

    `height` and `width` are in pixels after applying the EXIF orientation. Errors are those of
    `decode_image`.
    """

    def __init__(self, image: bytes | np.ndarray, name: str):
        """Read the size of a file or of pixels, from the header alone if possible."""
        self._name = name
        header = _plain_jpeg_header(image, name) if isinstance(image, bytes) else None
        if header:
            self._image = image
            self.height, self.width, self._frame = header
        else:
            self._image = decode_image(image, name) if isinstance(image, bytes) else image
            self.height, self.width = self._image.shape[:2]

    def crop(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Return a view of a rectangle, with exactly the pixels of `decode_image`.

        Damage below the rectangle may go undetected, except for a missing end of the file.
        """
        image = self._image
        pixels = self._first_rows(image, top + height) if isinstance(image, bytes) else image
        return pixels[top : top + height, left : left + width]

    def _first_rows(self, data: bytes, rows: int) -> np.ndarray:
        """Decode at least `rows` rows of a plain JPEG, or all rows if necessary."""
        # Change the header to declare fewer rows. libjpeg then warns even if the file is whole, so
        # a truncated file is recognised here by its missing end marker.
        frame, rows = self._frame, rows + _CONTEXT_ROWS
        if frame is not None and rows < self.height and data.endswith(_JPEG_END):
            start = frame + 5  # after the marker, the length and the precision
            rest = memoryview(data)[start + 2 :]
            shortened = b"".join((data[:start], rows.to_bytes(2), rest))
            with contextlib.suppress(ValueError):
                return simplejpeg.decode_jpeg(shortened, strict=False)
        return decode_image(data, self._name)


def check_header(file: BinaryIO, name: str) -> None:
    """Check that an open file is an image, without decoding its pixels.

    Raises:
      ImageError: The file is empty, not an image, or a decompression bomb.
    """
    _check_extension(name)
    try:
        with Image.open(file, formats=_FORMATS) as image:
            _check_size(image)
    except Exception as error:
        file.seek(0)
        reason = _reason(error, file.read(_FIRST_BYTES))
        raise ImageError(f"{printable(name)} is not a readable image: {reason}.") from error


def _check_extension(name: str) -> None:
    if name.lower().endswith(NOT_DECODED):
        # Pillow would decode the small preview in a camera's file.
        raise ImageError(
            f"Cannot decode {printable(name)}: netzoo does not read this format; convert it to "
            "JPEG or PNG."
        )


def _check_size(image: Image.Image) -> None:
    # Pillow only warns between one and two times its limit.
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise ImageError(
            f"it declares {image.width} x {image.height} pixels, over the limit of {limit:,} "
            "(PIL.Image.MAX_IMAGE_PIXELS)"
        )


def _plain_jpeg_header(data: bytes, name: str) -> tuple[int, int, int | None] | None:
    """Read the header of a plain JPEG in colour or grey; return None for all other files.

    Returns:
      Height, width, and the start of the frame header, or None if there are several frames.
    """
    _check_extension(name)
    if not data.startswith(_JPEG_START):
        return None
    at, frames = len(_JPEG_START), []
    for _ in range(_MAX_SEGMENTS):
        try:
            marker, length = _segment(data, at)
        except struct.error:  # the end of the data
            return None
        if marker == _SCAN:
            break
        if marker < 0xFF00 or marker == 0xFFFF:  # a gap between segments
            return None
        if marker in _FRAMES:
            frames.append(at)
        at += 2 + length
    else:  # Pillow would keep millions of segments
        raise ImageError(f"Cannot decode {printable(name)}: over {_MAX_SEGMENTS:,} segments.")
    if any(data.find(mark, 0, at) >= 0 for mark in _MAY_TURN) and not _is_upright(data):
        return None
    frame = frames[0] if len(frames) == 1 else None
    # A file has several scans if it is progressive or has one scan per colour.
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


def _is_upright(data: bytes) -> bool:
    """Return whether the metadata of a JPEG leave its pixels as they are stored."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:  # reads only the header
            return _orientation(image) not in _TRANSPOSE
    except Exception:
        return False  # Pillow also decodes the file, or explains why it cannot


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        # Accept an image with damaged metadata.
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
        # Pillow inverts every four-channel JPEG, as Adobe does. Samples without Adobe's marker are
        # not inverted, so undo Pillow's inversion.
        image = Image.fromarray(255 - np.asarray(image), mode="CMYK")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception, first: bytes) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        for kind, pattern in _NOT_DECODED.items():
            if re.match(pattern, first, re.DOTALL):
                return f"it is {kind}; expected a format such as JPEG or PNG"
        return "unknown image format"
    return printable(f"{error}".rstrip(".")) or type(error).__name__
