"""Draws a contact sheet with a few examples of every class of a data set.

netzoo contact_sheet synthetic_flowers --out sheet.png
"""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from netzoo.cli.arguments import Parser, typed_path
from netzoo.console import say
from netzoo.data.images import evaluation_image
from netzoo.data.source import Source
from netzoo.data.sources.open import open_source
from netzoo.errors import UserError
from netzoo.files import replacing

_GAP = 2
_FONT, _TEXT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_PAPER, _INK = 255, (40, 40, 40)


def contact_sheet(
    source: Source, columns: int, rows_per_class: int, tile_size: int = 96
) -> np.ndarray:
    """Lay out the first examples of each class in a row beside the class name.

    It reads no more of the source than needed. Missing examples stay blank. `tile_size` is the side
    of an example in pixels.

    Returns:
      uint8 image `[height, width, 3]`.
    """
    names, places, pitch = source.class_names, rows_per_class * columns, tile_size + _GAP
    tiles = np.full((len(names), places, pitch, pitch, 3), _PAPER, np.uint8)
    counts = [0] * len(names)
    for index in range(len(source)):
        if min(counts) == places:
            break
        example = source[index]
        label, place = example["label"], counts[example["label"]]
        if place < places:
            image, name = example["image"], example["name"]
            tiles[label, place, _GAP:, _GAP:] = evaluation_image(image, name, tile_size, 1.0)
            counts[label] += 1
    rows = tiles.reshape(-1, columns, pitch, pitch, 3).swapaxes(1, 2)
    sheet = rows.reshape(-1, columns * pitch, 3)
    margin = 12 + max(cv2.getTextSize(name, _FONT, _TEXT_SCALE, 1)[0][0] for name in names)
    sheet = np.pad(sheet, ((0, _GAP), (margin, _GAP), (0, 0)), constant_values=_PAPER)
    for label, name in enumerate(names):
        middle = int((label + 0.5) * rows_per_class * pitch) + 5
        cv2.putText(sheet, name, (6, middle), _FONT, _TEXT_SCALE, _INK, 1, cv2.LINE_AA)
    return sheet


def main(arguments: Sequence[str]) -> None:
    """Write the contact sheet of a data set to a file."""
    parser = Parser(prog="netzoo contact_sheet", description=__doc__)
    parser.add_argument("source", help="folder:PATH, tfds:NAME or synthetic_flowers")
    parser.add_argument("--split", default="train")
    parser.add_argument("--data-dir", help="TFDS folder (default: ~/tensorflow_datasets)")
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--rows-per-class", type=int, default=1)
    parser.add_argument("--tile-size", type=int, default=96, help="in pixels")
    parser.add_argument("--out", type=typed_path, required=True, help="file to write, .png or .jpg")
    options = parser.parse_args(arguments)
    sizes = options.columns, options.rows_per_class, options.tile_size
    if min(sizes) < 1:
        raise UserError(
            f"--columns, --rows-per-class and --tile-size are {sizes}; each must be at least 1"
        )
    if options.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"--out {options.out}; expected the name of a .png or .jpg file")
    source = open_source(options.source, options.split, options.data_dir)
    sheet = contact_sheet(source, *sizes)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(sheet)
    if options.out.suffix.lower() == ".png":
        image = image.quantize(256)  # reduces the file to a third
    with replacing(options.out, typed=True) as file:
        image.save(file, "PNG" if options.out.suffix.lower() == ".png" else "JPEG", optimize=True)
    say(f"Wrote {options.out} ({sheet.shape[1]} x {sheet.shape[0]} pixels).")
