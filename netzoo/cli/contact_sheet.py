"""Draws a contact sheet: a few examples of every class of a data set.

netzoo contact_sheet synthetic_flowers --out sheet.png
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from netzoo.data.images import evaluation_image
from netzoo.data.source import Source
from netzoo.data.sources.open import open_source
from netzoo.errors import UserError

_GAP = 2
_FONT, _TEXT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_PAPER, _INK = 255, (40, 40, 40)


def contact_sheet(
    source: Source, columns: int, rows_per_class: int, tile_size: int = 96
) -> np.ndarray:
    """Lays out the first examples of each class in rows, with the name of the class beside them.

    Args:
      source: The examples; only as much as needed is read.
      columns: Examples in a row.
      rows_per_class: Rows for each class.
      tile_size: Side of an example in the sheet, in pixels.

    Returns:
      uint8 image `[height, width, 3]`. Places for which a class has no example stay blank.
    """
    names = source.class_names
    margin = 12 + max(cv2.getTextSize(name, _FONT, _TEXT_SCALE, 1)[0][0] for name in names)
    pitch = tile_size + _GAP
    height = len(names) * rows_per_class * pitch + _GAP
    sheet = np.full((height, margin + columns * pitch + _GAP, 3), _PAPER, np.uint8)
    for label, tiles in enumerate(_first_tiles(source, columns * rows_per_class, tile_size)):
        middle = int((label + 0.5) * rows_per_class * pitch) + 5
        cv2.putText(sheet, names[label], (6, middle), _FONT, _TEXT_SCALE, _INK, 1, cv2.LINE_AA)
        for place, tile in enumerate(tiles):
            row, column = divmod(place, columns)
            top = (label * rows_per_class + row) * pitch + _GAP
            left = margin + column * pitch + _GAP
            sheet[top : top + tile_size, left : left + tile_size] = tile
    return sheet


def _first_tiles(source: Source, count: int, size: int) -> list[list[np.ndarray]]:
    """Returns the first `count` images of each class, cut to squares of one size."""
    tiles: list[list[np.ndarray]] = [[] for _ in source.class_names]
    for index in range(len(source)):
        if all(len(row) == count for row in tiles):
            break
        example = source[index]
        row = tiles[example["label"]]
        if len(row) < count:
            row.append(evaluation_image(example["image"], example["name"], size, crop_pct=1.0))
    return tiles


def main(arguments: Sequence[str]) -> None:
    """Writes the contact sheet of a data set to a file."""
    parser = argparse.ArgumentParser(
        prog="netzoo contact_sheet", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "source", help="a source, such as synthetic_flowers, tfds:NAME or folder:PATH"
    )
    parser.add_argument("--split", default="train")
    parser.add_argument("--data-dir", help="folder of TFDS (default: ~/tensorflow_datasets)")
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--rows-per-class", type=int, default=1)
    parser.add_argument("--tile-size", type=int, default=96, help="in pixels")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .png or .jpg")
    options = parser.parse_args(arguments)
    sizes = options.columns, options.rows_per_class, options.tile_size
    if min(sizes) < 1:
        raise UserError(f"columns, rows and tiles are {sizes}; expected at least 1 of each")
    if options.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"--out {options.out}; expected the name of a .png or .jpg file")
    source = open_source(options.source, options.split, options.data_dir)
    sheet = contact_sheet(source, *sizes)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(sheet)
    if options.out.suffix == ".png":
        image = image.quantize(256)  # a third of the size, and fit for a repository
    image.save(options.out, optimize=True)
    print(f"Wrote {options.out} ({sheet.shape[1]} x {sheet.shape[0]} pixels).")
