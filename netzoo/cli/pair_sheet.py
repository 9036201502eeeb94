"""Draws pairs of images that are the same, side by side."""

from collections.abc import Sequence

import cv2
import numpy as np

from netzoo.data.duplicates import Pair
from netzoo.data.images import evaluation_image
from netzoo.data.source import Source, example_name
from netzoo.errors import printable

_TILE, _GAP, _CAPTION, _COLUMNS = 128, 8, 16, 4


def pair_sheet(pairs: Sequence[Pair], sources: Sequence[Source]) -> np.ndarray:
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
