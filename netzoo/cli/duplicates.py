"""Lists images that occur twice in a data set, exactly or nearly, and marks pairs with two classes.

netzoo duplicates folder:photos --sheet sheet.png    # within and across all splits
netzoo duplicates tfds:tf_flowers --splits 'train[:80%]' 'train[80%:]' --out list.csv

`--config.evaluation.duplicates=list.csv` of `netzoo eval` reports the accuracy without them too.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from netzoo.cli.arguments import Parser, typed_path
from netzoo.console import print_table, say
from netzoo.data.duplicates import BITS, NEAR, Pair, find_duplicates, write_pairs
from netzoo.data.images import evaluation_image
from netzoo.data.source import Source, example_name
from netzoo.data.sources.open import open_source, split_sizes
from netzoo.errors import UserError, printable
from netzoo.files import replacing

_TILE, _GAP, _CAPTION, _COLUMNS = 128, 8, 16, 4
_MOST_DRAWN = 200


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = Parser(prog="netzoo duplicates", description=__doc__)
    parser.add_argument("source", help="folder:PATH, tfds:NAME or synthetic_flowers")
    splits = "TFDS split expressions (default: each split of the source)"
    parser.add_argument("--splits", nargs="+", help=splits)
    parser.add_argument("--data-dir", help="TFDS folder (default: ~/tensorflow_datasets)")
    near = f"bits in which two perceptual hashes may differ, of {BITS} (default: {NEAR})"
    parser.add_argument("--near", type=int, default=NEAR, help=near)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=typed_path, help="CSV file to write")
    parser.add_argument("--sheet", type=typed_path, help="PNG file with the pairs side by side")
    options = parser.parse_args(arguments)
    if options.threads < 1 or not 0 <= options.near < BITS // 2:
        raise UserError(
            f"--threads {options.threads}, --near {options.near}; expected at least one thread, "
            f"and 0 to {BITS // 2 - 1} bits"
        )
    names = options.splits or [*split_sizes(options.source, options.data_dir)]
    sources = [open_source(options.source, split, options.data_dir, True) for split in names]
    pairs = find_duplicates(sources, options.near, options.threads)
    _show(pairs, sum(map(len, sources)))
    if options.out:
        write_pairs(options.out, pairs)
    if options.sheet:
        image = Image.fromarray(contact_sheet(pairs[:_MOST_DRAWN], sources))
        with replacing(options.sheet, typed=True) as file:
            image.save(file, "PNG")


def _show(pairs: Sequence[Pair], images: int) -> None:
    rows = [
        (
            *("identical" if pair.distance < 0 else str(pair.distance), pair.first, pair.second),
            pair.first_class,
            pair.second_class if pair.contradicting else "same",
        )
        for pair in pairs
    ]
    if rows:
        print_table(("distance", "first", "second", "class", "class of the second"), rows)
    identical = sum(pair.distance < 0 for pair in pairs)
    across = sum(pair.first_split != pair.second_split for pair in pairs)
    contradicting = sum(pair.contradicting for pair in pairs)
    say(
        f"{images:,} images: {identical:,} identical pairs, {len(pairs) - identical:,} near pairs; "
        f"{across:,} across splits, {contradicting:,} with two classes"
    )


def contact_sheet(pairs: Sequence[Pair], sources: Sequence[Source]) -> np.ndarray:
    """Lay out pairs side by side, under their distance and classes.

    Returns:
      uint8 image `[height, width, 3]`.
    """
    places = {
        printable(example_name(source, index)): (source, index)
        for source in sources
        for index in range(len(source))
    }
    rows = max(-(-len(pairs) // _COLUMNS), 1)
    height, width = _TILE + _CAPTION + _GAP, 2 * _TILE + _GAP
    sheet = np.full((rows * height, _COLUMNS * width, 3), 255, np.uint8)
    for number, pair in enumerate(pairs):
        top, left = number // _COLUMNS * height, number % _COLUMNS * width
        for side, name in enumerate((pair.first, pair.second)):
            source, index = places[name]
            example = source[index]
            tile = evaluation_image(example["image"], example["name"], _TILE, 1.0)
            start = left + side * _TILE
            sheet[top + _CAPTION : top + _CAPTION + _TILE, start : start + _TILE] = tile
        across = " across" if pair.first_split != pair.second_split else ""
        classes = pair.first_class + (f" / {pair.second_class}" if pair.contradicting else "")
        text = f"{number + 1}: {max(pair.distance, 0)}{across}, {classes}"
        place = (left + 2, top + _CAPTION - 4)
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(sheet, text, place, font, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
    return sheet
