"""Transforms: sizes, ranges and determinism of crops, flips and resizing."""

import cv2
import numpy as np
import pytest
from PIL import Image

from netzoo.data import Augmentation
from netzoo.data.batching import generator
from netzoo.data.transforms import (
    random_flip,
    resize,
    resize_and_center_crop,
    resize_fast,
    sample_crop,
)


@pytest.fixture
def image():
    """A smooth image with structure in all channels."""
    noise = np.random.default_rng(3).integers(0, 256, (8, 11, 3), dtype=np.uint8)
    return cv2.resize(noise, (110, 80), interpolation=cv2.INTER_CUBIC)


def test_opencv_does_not_start_threads_of_its_own():
    """OpenCV uses one thread; nested pools would slow down the pipeline."""
    assert cv2.getNumThreads() <= 1


def test_shrinking_averages():
    """A fine chequerboard shrinks to grey without aliasing."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    assert np.all(np.abs(resize(board, 16, 16).astype(int) - 128) <= 1)
    assert np.all(np.abs(resize(board, 16, 200).astype(int) - 128) <= 1)


@pytest.mark.parametrize("side", [32, 21, 16, 10])
def test_training_shrinks_without_aliasing(side):
    """A fine chequerboard also becomes grey at half its size in training."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    inside = resize_fast(board, side, side)[1:-1, 1:-1]
    assert np.all(np.abs(inside.astype(int) - 128) <= 2)
    # Along one axis, an eighth of the contrast of 127 may remain.
    assert np.all(np.abs(resize_fast(board, side, 200)[1:-1, 9:-9].astype(int) - 128) <= 16)


@pytest.mark.parametrize("size", [(110, 120), (100, 60), (77, 90), (61, 61), (45, 50), (20, 90)])
def test_training_shrinks_like_a_reference(size):
    """Shrunk crops stay near Pillow's antialiased resizing, on noise with detail at all scales.

    Within 2 of 255 levels (root mean square), where INTER_AREA, which evaluation uses, lies within
    1.9, and cubic interpolation without the blur up to 8 levels away.
    """
    from PIL import Image

    rng = np.random.default_rng(7)
    picture = np.zeros((120, 130, 3), np.float32)
    for step in (1, 2, 4, 8, 16, 32):
        noise = rng.normal(0, 6 * step**0.5, (120 // step + 1, 130 // step + 1, 3))
        picture += cv2.resize(noise.astype(np.float32), (130, 120), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(128 + picture, 0, 255).astype(np.uint8)
    reference = np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BICUBIC))

    difference = resize_fast(picture, *size).astype(float) - reference
    assert np.sqrt(np.mean(difference**2)) <= 2


@pytest.mark.parametrize("size", [(80, 110), (80, 200), (300, 300)])
def test_training_grows_as_evaluation_does(image, size):
    """Without shrinking, both methods agree; at equal size they return the image."""
    np.testing.assert_array_equal(resize_fast(image, *size), resize(image, *size))
    assert resize_fast(image, 80, 110) is image


def test_growing_interpolates(image):
    """Enlarging is smooth, without the blocks of area averaging."""
    ramp = np.tile(np.linspace(0, 255, 8).astype(np.uint8)[None, :, None], (8, 1, 3))
    assert len(np.unique(resize(ramp, 64, 64)[0, :, 0])) > 40
    assert resize(image, *image.shape[:2]) is image


def test_crops_stay_inside_and_in_range():
    """Area and aspect ratio of the crop are in their bounds, for tall and wide images."""
    rng = np.random.default_rng(0)
    for height, width in [(240, 320), (500, 333), (64, 64)]:
        for _ in range(300):
            top, left, h, w = sample_crop(height, width, rng, (0.25, 1.0), (3 / 4, 4 / 3))
            assert 0 <= top <= height - h and 0 <= left <= width - w
            assert 0.24 <= h * w / (height * width) <= 1
            assert 0.73 <= w / h <= 1.37


def test_crops_are_those_of_earlier_versions():
    """A run that a new version continues sees the crops that it would have seen."""
    rngs = [generator(0, 2, 0, index) for index in range(3)]
    crops = [sample_crop(240, 320, rng, (0.08, 1.0), (3 / 4, 4 / 3)) for rng in rngs]
    assert crops == [(50, 122, 160, 171), (25, 13, 206, 237), (42, 170, 181, 142)]


def test_crops_are_uniform():
    """The area, the logarithm of the shape, and the place of crops are uniform in their bounds."""
    rng = np.random.default_rng(0)
    crops = np.array([sample_crop(400, 400, rng, (0.1, 0.3), (0.5, 2.0)) for _ in range(4000)])
    top, left, height, width = crops.T
    shares = {
        "area": (height * width / 400**2 - 0.1) / 0.2,
        "shape": (np.log(width / height) / np.log(2) + 1) / 2,
        "top": top / (400 - height),
        "left": left / (400 - width),
    }
    for name, share in shares.items():
        counts, _ = np.histogram(share, 10, (-0.005, 1.005))
        assert counts.sum() == 4000, name
        # Five standard deviations of a count of 400 among 4,000, and rounding to pixels.
        assert np.abs(counts - 400).max() < 5 * 360**0.5 + 20, (name, counts)


def test_crop_of_extreme_shape_falls_back_to_the_centre():
    """An image that fits no rectangle gives its central part."""
    top, left, h, w = sample_crop(10, 1000, np.random.default_rng(0), (1.0, 1.0), (3 / 4, 4 / 3))
    assert (top, h, w) == (0, 10, 13) and left == 493


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (7, 300)])
def test_tiny_images_work(shape):
    """One-pixel images do not break the crop or the resize."""
    small = np.full((*shape, 3), 7, np.uint8)
    example = {"image": small, "label": 0, "name": "small"}
    augment = Augmentation((0.08, 1.0), (3 / 4, 4 / 3), True, 0, 0.0)
    crop = augment(example, 16, np.random.default_rng(0))
    assert crop.shape == (16, 16, 3) and np.all(crop == 7)
    assert resize_and_center_crop(small, 16, 0.875).shape == (16, 16, 3)


def test_flip_happens_half_of_the_time(image):
    """The flip is a mirror, and fair."""
    rng = np.random.default_rng(0)
    flipped = [random_flip(image, rng) is not image for _ in range(1000)]
    assert 450 < sum(flipped) < 550
    results = {random_flip(image, rng).tobytes() for _ in range(20)}
    assert results == {image.tobytes(), image[:, ::-1].tobytes()}


@pytest.mark.parametrize("shape", [(240, 320), (320, 240), (100, 100), (33, 700)])
@pytest.mark.parametrize("fraction", [0.875, 1.0, 0.5])
def test_center_crop_is_central_and_sized(shape, fraction):
    """The evaluation crop is central: a centred marker stays centred."""
    picture = np.zeros((*shape, 3), np.uint8)
    y, x = shape[0] // 2, shape[1] // 2
    picture[y - 3 : y + 3, x - 3 : x + 3] = 255
    crop = resize_and_center_crop(picture, 96, fraction)
    assert crop.shape == (96, 96, 3)
    rows, columns = np.nonzero(crop[..., 0] > 128)
    # Half a source pixel is up to three enlarged pixels.
    assert abs(rows.mean() - 47.5) <= 3 and abs(columns.mean() - 47.5) <= 3


@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic", "hamming"])
@pytest.mark.parametrize("shape", [(1, 1_000_000), (1_000_000, 1), (3, 50_000)])
def test_center_crop_of_a_long_thin_image(shape, interpolation):
    """Images are cropped before enlarging; the first would have 10^10 pixels."""
    picture = np.zeros((*shape, 3), np.uint8)
    picture[shape[0] // 2 if shape[1] == 1 else 0 :, shape[1] // 2 :] = 255  # half of the longer
    crop = resize_and_center_crop(picture, 96, 0.875, interpolation)
    assert crop.shape == (96, 96, 3)
    first, last = (crop[::95, 48] if shape[1] == 1 else crop[48, ::95])[:, 0]
    assert first < 20 and last > 235


@pytest.mark.parametrize("shape", [(333, 500), (500, 333), (240, 331), (97, 98)])
def test_published_weights_see_the_pixels_of_torchvision(shape):
    """Protects the rounding of the longer side and of the crop's place in torchvision and timm."""
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    shorter, size = 235, 224
    height, width = (int(shorter * side / min(shape)) for side in shape)
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    top, left = (round((side - size) / 2.0) for side in (height, width))
    expected = resized.crop((left, top, left + size, top + size))
    found = resize_and_center_crop(picture, size, size / shorter, "bicubic")
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_squashed_images_are_whole():
    """The whole image is resized to a square, as by `Image.resize`, before the crop."""
    picture = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    resized = Image.fromarray(picture).resize((40, 40), Image.Resampling.BICUBIC)
    for size in (40, 32):
        start = (40 - size) // 2
        expected = np.asarray(resized.crop((start, start, start + size, start + size)))
        found = resize_and_center_crop(picture, size, size / 40, "bicubic", "squash")
        np.testing.assert_array_equal(found, expected)
        center = resize_and_center_crop(picture, size, size / 40, "bicubic")
        assert np.abs(found.astype(int) - center).mean() > 20


def test_center_crop_pct_sets_the_field_of_view():
    """At 0.5, the crop of 320 x 240 is the middle 120 pixels."""
    ramp = np.tile((np.arange(320) * 255 / 319)[None, :, None], (240, 1, 3)).astype(np.uint8)
    crop = resize_and_center_crop(ramp, 60, 0.5)
    assert abs(crop[0, 0, 0] - 100 * 255 / 319) < 2 and abs(crop[0, -1, 0] - 220 * 255 / 319) < 2
    for wrong in (0.0, 1e-6, 1.1):  # 1e-6 would enlarge the image to 60 million pixels a side
        with pytest.raises(ValueError, match=r"a crop_pct of 0\.1 to 1"):
            resize_and_center_crop(ramp, 60, wrong)
