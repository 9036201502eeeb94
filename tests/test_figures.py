"""What figures of all kinds share."""

import numpy as np

from netzoo import figures
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


def test_the_same_figure_gives_the_same_svg(tmp_path):
    """Protects repositories with figures: redrawing changes no line."""
    for name in ("a", "b"):
        figure = figures.new_figure(2, 2, "title")
        axes = figure.subplots()
        axes.plot([1, 2], label="line")
        axes.fill_between([0, 1], [1, 2], alpha=0.2)
        figures.save(figure, tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_names_beside_points_cover_nothing():
    """Protects pictures with many points: of two near points, one name goes to another side."""
    figure = figures.new_figure(6, 3, "title")
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    figure.draw_without_rendering()
    places = [(5.0, 5.0), (5.2, 5.1), (9.5, 1.0)]
    labels = figures.label_points(axes, places, ["a long name", "another name", "edge"], "rgb")
    boxes = [label.get_window_extent() for label in labels]
    inside = axes.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
    assert not boxes[0].overlaps(boxes[1])
    points = axes.transData.transform(places)
    assert not any(box.contains(*point) for box in boxes for point in points)
    assert [label.get_color() for label in labels] == ["r", "g", "b"]
    assert len(axes.texts) == len(places)
