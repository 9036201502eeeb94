"""Random erasing: the definition of Zhong et al., and what the pipeline makes of its keys."""

import dataclasses
import itertools

import numpy as np
import pytest

from netzoo.data import Augmentation, TrainBatches
from netzoo.data.transforms import random_erase

AREA, RATIO = (0.02, 1 / 3), (0.3, 1 / 0.3)
MEAN = (10.4, 20.6, 30.0)
GREY = np.full((120, 90, 3), 99, np.uint8)


def erased(rng, area=AREA, ratio=RATIO):
    """Return the rows and the columns of the rectangle in a grey image that is always erased."""
    mask = (random_erase(GREY, rng, 1.0, area, ratio, MEAN) != GREY).any(-1)
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    assert mask.sum() == len(rows) * len(columns), "a rectangle"
    return rows, columns


def test_rectangles_have_the_published_sizes():
    """The area is uniform in its bounds, and the logarithm of the shape between its bounds."""
    rng = np.random.default_rng(0)
    boxes = [erased(rng, (0.1, 0.2), (0.5, 2.0)) for _ in range(1000)]
    height, width = (np.array([len(box[axis]) for box in boxes]) for axis in (0, 1))
    area, shape = height * width / (120 * 90), np.log(width / height) / np.log(2)
    for share in ((area - 0.1) / 0.1, (shape + 1) / 2):
        counts, _ = np.histogram(share, 5, (-0.05, 1.05))
        assert counts.sum() == 1000
        assert np.abs(counts - 200).max() < 5 * 160**0.5 + 20
    # Every place is possible.
    assert {box[0][0] for box in boxes} >= {0, 40} and {box[1][0] for box in boxes} >= {0, 30}


def test_a_rectangle_is_filled_with_noise_or_the_mean():
    """Noise has every value of a byte in each channel; the mean is rounded."""
    rng = np.random.default_rng(0)
    box = 1.0, (0.9, 1.0), (0.7, 0.8)
    noise = random_erase(GREY, rng, *box)
    values = noise[(noise != GREY).any(-1)]
    assert len(values) > 9000
    counts = np.stack([np.bincount(channel, minlength=256) for channel in values.T])
    assert counts.min() > 5 and counts.max() < 90  # 38 on average, with deviation 6
    assert abs(np.corrcoef(values.T)[0, 1]) < 0.1, "each channel has its own noise"
    filled = random_erase(GREY, rng, *box, MEAN)
    np.testing.assert_array_equal(np.unique(filled.reshape(-1, 3), axis=0)[0], (10, 21, 30))


def test_a_share_of_the_images_is_erased():
    """The probability is that of an image, and the given image never changes."""
    image, rng = GREY.copy(), np.random.default_rng(0)
    image.flags.writeable = False
    results = [random_erase(image, rng, 0.25, AREA, RATIO) for _ in range(1000)]
    assert 200 < sum(result is not image for result in results) < 300


def test_a_rectangle_that_fits_no_image_is_left_out():
    """Ten draws that do not fit leave the image as it is."""
    rng = np.random.default_rng(0)
    assert random_erase(GREY, rng, 1.0, (0.9, 1.0), (5.0, 6.0)) is GREY


class Grey:
    """Sixteen grey images."""

    name, split, class_names = "grey", "train", ("grey", "greyer")

    def __len__(self):
        return 16

    def __getitem__(self, index):
        return {"image": GREY, "label": index % 2, "name": f"grey {index}"}


@pytest.mark.parametrize("fill", ["noise", "mean"])
def test_the_position_decides_the_rectangle(fill):
    """Rectangles differ between images and epochs, whatever the batch size."""
    plain = Augmentation((1.0, 1.0), (3 / 4, 4 / 3), False, 0, 0.0)
    augmentation = dataclasses.replace(plain, erasing_prob=1.0, erasing_fill=fill)

    def images(batch_size, count):
        settings = {"batch_size": batch_size, "image_size": 24, "seed": 3}
        batches = TrainBatches(Grey(), augmentation=augmentation, **settings)
        return np.concatenate([b["image"] for b in itertools.islice(iter(batches), count)])

    first = images(4, 8)
    np.testing.assert_array_equal(first, images(8, 4))
    assert len({image.tobytes() for image in first}) == 32
    assert (first == 99).all(-1).any((1, 2)).all() and (first != 99).any((1, 2, 3)).all()
    if fill == "mean":
        assert set(np.unique(first)) == {99, 128}  # 127.5, rounded to even
