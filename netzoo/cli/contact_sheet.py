"""Contact sheet: a picture that shows a few examples of every class of a dataset.

netzoo contact_sheet synthetic_flowers --out sheet.png
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from netzoo.data.decode import decode_image
from netzoo.data.source import Source
from netzoo.data.sources.open import open_source

_GAP = 2
_TEXT_SCALE = 0.45
_PAPER, _INK = 255, (40, 40, 40)


def _tile(image: np.ndarray, side: int) -> np.ndarray:
    """Cuts the largest centred square out of `image` and resizes it to `side`."""
    height, width = image.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    square = image[top : top + edge, left : left + edge]
    # Area averaging does not alias when it shrinks; enlarging needs a smooth kernel.
    method = cv2.INTER_AREA if edge >= side else cv2.INTER_CUBIC
    return square if edge == side else cv2.resize(square, (side, side), interpolation=method)


def _collect(
    source: Iterable[tuple[np.ndarray, int]], classes: int, wanted: int
) -> list[list[np.ndarray]]:
    """The first `wanted` images of each class; reads no further than it has to."""
    found: list[list[np.ndarray]] = [[] for _ in range(classes)]
    missing = classes * wanted
    for image, label in source:
        if len(found[label]) < wanted:
            found[label].append(image)
            missing -= 1
        if missing == 0:
            break
    return found


def contact_sheet(
    source: Iterable[tuple[np.ndarray, int]],
    columns: int,
    rows_per_class: int,
    class_names: Sequence[str],
    tile_size: int = 96,
) -> np.ndarray:
    """Lays out examples in rows, one class after the other, each with its name in the margin.

    Args:
      source: Yields (uint8 image [H, W, 3], label); only as much as needed is read.
      columns: Examples in a row.
      rows_per_class: Rows for each class.
      class_names: Name of each label.
      tile_size: Edge of an example in the sheet, in pixels.

    Returns:
      uint8 picture [height, width, 3]. Places a class has no example for stay blank.
    """
    if columns < 1 or rows_per_class < 1:
        raise ValueError(f"A sheet needs rows and columns, not {rows_per_class} and {columns}.")
    found = _collect(source, len(class_names), columns * rows_per_class)
    font = cv2.FONT_HERSHEY_SIMPLEX
    widths = [cv2.getTextSize(name, font, _TEXT_SCALE, 1)[0][0] for name in class_names]
    margin = max(widths) + 12
    pitch = tile_size + _GAP
    height = len(class_names) * rows_per_class * pitch + _GAP
    sheet = np.full((height, margin + columns * pitch + _GAP, 3), _PAPER, np.uint8)
    for label, (name, images) in enumerate(zip(class_names, found, strict=True)):
        first_row = label * rows_per_class
        middle = int((first_row + rows_per_class / 2) * pitch) + 5
        cv2.putText(sheet, name, (6, middle), font, _TEXT_SCALE, _INK, 1, cv2.LINE_AA)
        for place, image in enumerate(images):
            row, column = divmod(place, columns)
            top = (first_row + row) * pitch + _GAP
            left = margin + column * pitch + _GAP
            sheet[top : top + tile_size, left : left + tile_size] = _tile(image, tile_size)
    return sheet


def _decoded(source: Source) -> Iterator[tuple[np.ndarray, int]]:
    for index in range(len(source)):
        example = source[index]
        yield decode_image(example["image"], example["name"]), example["label"]


def main(arguments: Sequence[str]) -> None:
    """Writes the contact sheet of a dataset to a file."""
    parser = argparse.ArgumentParser(
        prog="netzoo contact_sheet", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "source", help="a source, such as synthetic_flowers, tfds:NAME or folder:PATH"
    )
    parser.add_argument("--split", default="train")
    parser.add_argument("--data-dir", default=None)
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--rows-per-class", type=int, default=1)
    parser.add_argument("--tile-size", type=int, default=96)
    parser.add_argument("--out", type=Path, required=True, help="file to write, .png or .jpg")
    args = parser.parse_args(arguments)

    source = open_source(args.source, args.split, data_dir=args.data_dir)
    sheet = contact_sheet(
        _decoded(source), args.columns, args.rows_per_class, source.class_names, args.tile_size
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(sheet)
    if args.out.suffix == ".png":
        picture = picture.quantize(256)  # a third of the size, and fit for a repository
    picture.save(args.out, optimize=True)
    print(f"Wrote {args.out} ({sheet.shape[1]} x {sheet.shape[0]} pixels).")
