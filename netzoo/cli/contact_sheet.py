"""Draws examples of every class of a data set, or what a network sees of them in training.

netzoo contact_sheet synthetic_flowers --out sheet.png
netzoo contact_sheet --config quickstart --out seen.png [--config.augment.mixup=0.2 ...]

With --config, the sheet shows the images of the first batches of the run as the network sees them:
after augmentation, mixup and CutMix. Each has its label, and its original beside it. Each row is a
batch.
"""

import argparse
import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from netzoo.cli.arguments import Parser, typed_path
from netzoo.config.overrides import override, read_config, split_overrides
from netzoo.console import say
from netzoo.data.images import evaluation_image
from netzoo.data.source import Source, classes_of
from netzoo.data.sources.open import SPECS, open_source
from netzoo.data.transforms import resize
from netzoo.errors import UserError
from netzoo.files import replacing

if TYPE_CHECKING:
    from netzoo.cli.training_images import Seen

_GAP, _LINE = 2, 20
_FONT, _TEXT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_PAPER, _INK = 255, (40, 40, 40)
# The options of each kind of sheet, with their defaults.
_OF_SOURCE: dict[str, Any] = {
    "split": "train",
    "data_dir": None,
    "tile_size": 96,
    "columns": 12,
    "rows": 1,
}
_OF_CONFIG: dict[str, Any] = {"batches": 6, "columns": 6, "rows": 1}


def contact_sheet(
    source: Source, columns: int, rows_per_class: int, tile_size: int = 96
) -> np.ndarray:
    """Lay out the first examples of each class in a row beside the class name.

    The function stops reading the source when all rows are full. An image of several classes is in
    the rows of all its classes. Missing examples stay blank. `tile_size` is the side of an example
    in pixels.

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
        if open_rows := [n for n in classes_of(example["label"]) if counts[n] < places]:
            image, name = example["image"], example["name"]
            tile = evaluation_image(image, name, tile_size, 1.0)
            for number in open_rows:
                tiles[number, counts[number], _GAP:, _GAP:] = tile
                counts[number] += 1
    return _beside_names([_grid(row, columns) for row in tiles], names)


def training_sheet(
    batches: Iterable[Iterable["Seen"]], columns: int, rows_per_batch: int
) -> np.ndarray:
    """Lay out the first images of each batch beside their originals and above their labels.

    The pixels of training images do not change; the originals are resized to the same size.

    Returns:
      uint8 image `[height, width, 3]`.
    """
    shown = [[*itertools.islice(batch, rows_per_batch * columns)] for batch in batches]
    labels = max(_width(seen.label) for batch in shown for seen in batch)
    blocks = []
    for batch in shown:
        size, places = len(batch[0].image), -(-len(batch) // columns) * columns
        width = max(2 * size, labels) + 8 * _GAP
        cells = np.full((places, size + _LINE + _GAP, width, 3), _PAPER, np.uint8)
        for cell, seen in zip(cells, batch, strict=False):
            cell[_GAP : _GAP + size, :size] = _whole(seen.original, size)
            cell[_GAP : _GAP + size, size + _GAP : 2 * size + _GAP] = seen.image
            _write(cell, seen.label, 0, size + 16)
        blocks.append(_grid(cells, columns))
    return _beside_names(blocks, [f"batch {number + 1}" for number in range(len(blocks))])


def _whole(image: np.ndarray, size: int) -> np.ndarray:
    """Return the whole image in the middle of a blank square."""
    factor = size / max(image.shape[:2])
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    square = np.full((size, size, 3), _PAPER, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = resize(image, height, width)
    return square


def _grid(cells: np.ndarray, columns: int) -> np.ndarray:
    """Arrange cells `[number, height, width, 3]` in rows."""
    _, height, width, _ = cells.shape
    rows = cells.reshape(-1, columns, height, width, 3).swapaxes(1, 2)
    return rows.reshape(-1, columns * width, 3)


def _beside_names(blocks: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Stack blocks of rows, each to the right of its name."""
    margin = 12 + max(map(_width, names))
    width = margin + max(block.shape[1] for block in blocks) + _GAP
    sheet = np.full((sum(map(len, blocks)) + _GAP, width, 3), _PAPER, np.uint8)
    top = 0
    for block, name in zip(blocks, names, strict=True):
        sheet[top : top + len(block), margin : margin + block.shape[1]] = block
        _write(sheet, name, 6, top + len(block) // 2 + 5)
        top += len(block)
    return sheet


def _width(text: str) -> int:
    return cv2.getTextSize(text, _FONT, _TEXT_SCALE, 1)[0][0]


def _write(sheet: np.ndarray, text: str, left: int, bottom: int) -> None:
    cv2.putText(sheet, text, (left, bottom), _FONT, _TEXT_SCALE, _INK, 1, cv2.LINE_AA)


def main(arguments: Sequence[str]) -> None:
    """Write the contact sheet of a data set, or of the training images of a run, to a file."""
    options, overrides = _options(arguments)
    if options.config is None:
        source = open_source(options.source, options.split, options.data_dir)
        sheet = contact_sheet(source, options.columns, options.rows, options.tile_size)
    else:
        config = read_config(options.config)
        override(config, overrides)
        import jax

        from netzoo.cli.training_images import training_images

        jax.config.update("jax_platforms", "cpu")  # no network runs
        seen = training_images(config, options.batches)
        sheet = training_sheet(seen, options.columns, options.rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    image, png = Image.fromarray(sheet), options.out.suffix.lower() == ".png"
    if png and options.config is None:
        image = image.quantize(256)  # reduces the file to a third
    with replacing(options.out, typed=True) as file:
        image.save(file, "PNG" if png else "JPEG", optimize=True)
    say(f"Wrote {options.out} ({sheet.shape[1]} x {sheet.shape[0]} pixels).")


def _options(arguments: Sequence[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Return the options with their defaults, and the overrides of the configuration.

    Raises:
      UserError: The options do not go together.
    """
    parser = Parser(prog="netzoo contact_sheet", description=__doc__, allow_abbrev=False)
    parser.add_argument("source", nargs="?", help=SPECS)
    parser.add_argument("--config", help="configuration of a run: draw what its network sees")
    parser.add_argument("--split", help="of the source (default: train)")
    parser.add_argument("--data-dir", help="TFDS folder (default: ~/tensorflow_datasets)")
    tile_size = "side of an image in pixels, for a source only (default: 96)"
    parser.add_argument("--tile-size", type=int, help=tile_size)
    parser.add_argument("--batches", type=int, help="with --config (default: 6)")
    parser.add_argument("--columns", type=int, help="images in a row (default: 12 or 6)")
    parser.add_argument("--rows", type=int, help="for each class or batch (default: 1)")
    parser.add_argument("--out", type=typed_path, required=True, help="file to write, .png or .jpg")
    typed, overrides = split_overrides(arguments)
    options = parser.parse_args(typed)
    if (options.source is None) == (options.config is None):
        found = "neither" if options.source is None else "both"
        raise UserError(f"expected either a source of images or --config, got {found}")
    if overrides and options.config is None:
        raise UserError(f"--config.{min(overrides)} changes a configuration; add --config FILE")
    mine, other, kind = _OF_SOURCE, _OF_CONFIG, "--config"
    if options.config is not None:
        mine, other, kind = _OF_CONFIG, _OF_SOURCE, "a source of images"
    given = {name: value for name, value in vars(options).items() if value is not None}
    for name, value in given.items():
        flag = f"--{name.replace('_', '-')}"
        if name in other and name not in mine:
            raise UserError(f"{flag} is only for {kind}; omit it")
        if isinstance(value, int) and value < 1:
            raise UserError(f"{flag} is {value}; it must be at least 1")
    if options.out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"--out {options.out}; expected the name of a .png or .jpg file")
    return argparse.Namespace(**{**vars(options), **mine, **given}), overrides
