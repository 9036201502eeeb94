"""Makes the pictures and folders of `reliability.hostile_files`."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HUGE = 60_000  # pixels of a side that bombs claim
SPARSE = 8 << 30  # bytes that a sparse file claims


def picture(height: int = 48, width: int = 64, seed: int = 0) -> Image.Image:
    """Return smooth noise."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    """Return the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def patched(data: bytes, marker: bytes, offset: int, value: bytes) -> bytes:
    """Return `data` with `value` at `offset` after the first `marker`."""
    at = data.index(marker) + offset
    return data[:at] + value + data[at + len(value) :]


def png(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds one row of zeros."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(3 * width + 1))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def scan_bomb(side: int = 6000, scans: int = 2000) -> bytes:
    """Return a progressive JPEG whose last pass is repeated."""
    data = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    last = data[data.rindex(b"\xff\xc4", 0, scan) : -2]
    return data[:-2] + scans * last + data[-2:]


def contents() -> dict[str, bytes]:
    """Return the bytes of every hostile or unusual file, by its name."""
    image = picture()
    jpeg = encoded(image, "JPEG", quality=90)
    cmyk = encoded(image.convert("CMYK"), "JPEG")
    frames = [picture(seed=seed) for seed in range(3)]
    animation = {"save_all": True, "append_images": frames[1:], "duration": 50}
    exif = Image.Exif()
    exif[0x0112] = 6
    samples = np.asarray(image).astype(np.uint16) * 257
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    bomb_size = struct.pack(">HH", HUGE, HUGE)
    return {
        "good.jpg": jpeg,
        "good.png": encoded(image, "PNG"),
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "truncated.png": encoded(image, "PNG")[:-400],
        "zero_bytes.jpg": b"",
        "text.jpg": b"This is a text.\n",
        "png_named.jpg": encoded(image, "PNG"),
        "one_pixel.png": encoded(image.resize((1, 1)), "PNG"),
        "1x10000.png": encoded(image.resize((1, 10_000)), "PNG"),
        "10000x1.jpg": encoded(image.resize((10_000, 1)), "JPEG"),
        "bomb.png": png(HUGE, HUGE),
        "bomb.jpg": patched(jpeg, b"\xff\xc0", 5, bomb_size),
        "bomb.gif": patched(encoded(frames[0], "GIF"), b"GIF8", 6, b"\x60\xea\x60\xea"),
        "bomb_scans.jpg": scan_bomb(),
        "bomb_segments.jpg": jpeg[:2] + 500_000 * b"\xff\xe5\x00\x02" + jpeg[2:],
        "largest_allowed.png": encoded(Image.new("LA", (9400, 9400)), "PNG"),
        "animated.gif": encoded(frames[0], "GIF", **animation),
        "animated.png": encoded(frames[0], "PNG", **animation),
        "animated.webp": encoded(frames[0], "WEBP", **animation),
        "16_bit_grey.png": encoded(Image.fromarray(samples[..., 0]), "PNG"),
        "16_bit_colour.png": cv2.imencode(".png", samples)[1].tobytes(),
        "float.tiff": encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"),
        "palette_alpha.png": encoded(palette, "PNG", transparency=3),
        "cmyk.jpg": cmyk,
        "ycck.jpg": patched(cmyk, b"Adobe", 11, b"\x02"),
        "exif_rotated.jpg": encoded(image, "JPEG", exif=exif),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "12_bit.jpg": patched(patched(jpeg, b"\xff\xc0", 4, b"\x0c"), b"\xff\xc0", 0, b"\xff\xc1"),
        "arithmetic.jpg": patched(jpeg, b"\xff\xc0", 0, b"\xff\xc9"),
        "lossless.jpg": patched(jpeg, b"\xff\xc0", 0, b"\xff\xc3"),
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "two words.jpg": jpeg,
        "new\nline.jpg": jpeg,
        "\u82b1 \u00fc.jpg": jpeg,
        os.fsdecode(b"not_utf8_\xff.jpg"): jpeg,
        "[bold]x.jpg": jpeg,
        "$x^$.jpg": jpeg,
        "\x1b[31mred.jpg": jpeg,
    }


def write_plain(folder: Path) -> None:
    """Write every file of `contents` into a folder."""
    folder.mkdir(parents=True)
    for name, data in contents().items():
        (folder / name).write_bytes(data)


def specials() -> dict[str, Callable[[Path], object]]:
    """Return the functions that make the special files, by name."""

    def unreadable(path: Path) -> None:
        path.write_bytes(encoded(picture(), "JPEG"))
        path.chmod(0)

    def sparse(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(SPARSE)

    return {
        "dangling.jpg": lambda path: path.symlink_to("nowhere.jpg"),
        "circle.jpg": lambda path: path.symlink_to(path.name),
        "circle": lambda path: path.symlink_to(".."),
        "fifo.jpg": os.mkfifo,
        "folder.jpg": lambda path: path.mkdir(),
        "device.jpg": lambda path: path.symlink_to("/dev/zero"),
        "sparse_8_gib.jpg": sparse,
        "unreadable.jpg": unreadable,
    }


def write_specials(folder: Path) -> None:
    """Make every special file in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in specials().items():
        make(folder / name)
