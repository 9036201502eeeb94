"""What figures of all kinds share."""

import numpy as np

from netzoo.figures import tiles


def test_tiles():
    """Cells stand row by row, with gaps between them and in place of missing cells."""
    cells = np.arange(12).reshape(3, 2, 2)
    expected = [
        [0, 1, -1, 4, 5],
        [2, 3, -1, 6, 7],
        5 * [-1],
        [8, 9, *3 * [-1]],
        [10, 11, *3 * [-1]],
    ]
    np.testing.assert_array_equal(tiles(cells, 2, fill=-1), expected)
    colors = np.zeros((2, 3, 4, 3))
    assert tiles(colors, 2, gap=0).shape == (3, 8, 3)
