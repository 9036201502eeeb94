"""Operations against Pillow's, and policies against the numbers that are published for them."""

import cv2
import numpy as np
import pytest

from netzoo.data.operations import OPERATIONS
from netzoo.data.policies import (
    IMAGENET_POLICY,
    LARGEST,
    POLICIES,
    auto_augment,
    color_jitter,
    rand_augment,
    trivial_augment,
)


@pytest.fixture
def image():
    """A smooth image with structure in all channels."""
    noise = np.random.default_rng(3).integers(0, 256, (8, 11, 3), dtype=np.uint8)
    return cv2.resize(noise, (110, 80), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("level", [-1.0, -0.3, 0.0, 0.9, 1.0])
def test_operation_keeps_shape_and_input(name, level, image):
    """No operation changes shape, type or the (possibly cached) image it was given."""
    image.flags.writeable = False
    before = image.copy()
    for largest in LARGEST.get(name, (0,)):
        result = OPERATIONS[name](image, level * largest)
        assert result.shape == image.shape and result.dtype == np.uint8
        np.testing.assert_array_equal(image, before)


WITHOUT_AMOUNT = {"identity", "autocontrast", "equalize", "invert"}


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - WITHOUT_AMOUNT))
def test_amount_zero_changes_nothing(name, image):
    """Amount 0 returns the image up to rounding; the identity is exact at any amount."""
    assert np.abs(OPERATIONS[name](image, 0.0).astype(int) - image).max() <= 1
    assert OPERATIONS["identity"](image, 1.0) is image


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"identity"}))
def test_operations_are_the_published_ones(name, image):
    """Each operation equals Pillow's, which the authors' code and torchvision use.

    Hues are compared with matplotlib's in floats, because Pillow's are rounded to bytes too.
    """
    from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
    from PIL import Image, ImageEnhance, ImageOps

    picture = Image.fromarray(image)
    affine = (Image.Transform.AFFINE, Image.Resampling.BILINEAR)

    def transform(data):
        return picture.transform(picture.size, affine[0], data, affine[1], fillcolor=(128,) * 3)

    def rotated_hue():
        hsv = rgb_to_hsv(image / 255)
        return 255 * hsv_to_rgb(np.add(hsv, (0.25, 0, 0)) % (1, 2, 2))

    amount, expected = {
        "autocontrast": (0, lambda: ImageOps.autocontrast(picture)),
        "equalize": (0, lambda: ImageOps.equalize(picture)),
        "invert": (0, lambda: ImageOps.invert(picture)),
        "posterize": (4, lambda: ImageOps.posterize(picture, 4)),
        "solarize": (230.4, lambda: ImageOps.solarize(picture, 25.6)),
        "color": (0.81, lambda: ImageEnhance.Color(picture).enhance(1.81)),
        "contrast": (-0.81, lambda: ImageEnhance.Contrast(picture).enhance(0.19)),
        "brightness": (0.81, lambda: ImageEnhance.Brightness(picture).enhance(1.81)),
        "sharpness": (0.81, lambda: ImageEnhance.Sharpness(picture).enhance(1.81)),
        "hue": (0.25, rotated_hue),
        "rotate": (27, lambda: picture.rotate(27, affine[1], fillcolor=(128,) * 3)),
        "translate_x": (40.5, lambda: transform((1, 0, -40.5, 0, 1, 0))),
        "translate_y": (-20.5, lambda: transform((1, 0, 0, 0, 1, 20.5))),
        "shear_x": (0.27, lambda: transform((1, -0.27, 0, 0, 1, 0))),
        "shear_y": (0.27, lambda: transform((1, 0, 0, -0.27, 1, 0))),
    }[name]
    difference = np.abs(OPERATIONS[name](image, amount).astype(int) - np.asarray(expected()))
    # The libraries treat borders differently, so compare a quantile instead of the maximum.
    assert np.quantile(difference, 0.95) <= 4, np.quantile(difference, [0.5, 0.9, 0.95, 1])


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"])
def test_the_outside_is_mid_grey(name):
    """What a transformation moves in from outside has the colour of AutoAugment's code."""
    black = np.zeros((20, 20, 3), np.uint8)
    amount = {"rotate": 45.0, "shear_x": 1.0, "shear_y": 1.0}.get(name, 10.0)
    assert (128, 128, 128) in map(tuple, OPERATIONS[name](black, amount).reshape(-1, 3).tolist())


def test_flat_images_survive():
    """One-coloured images have no contrast to stretch; nothing divides by zero."""
    flat = np.full((16, 16, 3), 77, np.uint8)
    for name in ("autocontrast", "equalize", "contrast"):
        np.testing.assert_array_equal(OPERATIONS[name](flat, 0.9), flat)


def test_operations_are_in_the_order_that_numbers_draw_them():
    """Pins the order of operations, which determines results at a fixed seed."""
    assert " ".join(LARGEST) == (
        "identity autocontrast equalize rotate posterize solarize color contrast brightness "
        "sharpness shear_x shear_y translate_x translate_y"
    )


ALL = {
    "randaugment": lambda image, rng: rand_augment(image, rng, 2, 9.0),
    "color_jitter": lambda image, rng: color_jitter(image, rng, (0.4, 0.4, 0.4, 0.1)),
    **POLICIES,
}


@pytest.mark.parametrize("policy", ALL)
def test_a_policy_is_decided_by_its_generator(policy, image):
    """Equal generators give equal images; other generators give other images."""
    first, again = (
        [ALL[policy](image, np.random.default_rng(seed)).tobytes() for seed in range(40)]
        for _ in range(2)
    )
    assert first == again and len(set(first)) > 15


@pytest.fixture
def calls(monkeypatch):
    """The names and amounts of operations, which are recorded and leave the image as it is."""
    calls = []
    for name in OPERATIONS:
        spy = lambda im, amount, n=name: calls.append((n, amount)) or im  # noqa: E731
        monkeypatch.setitem(OPERATIONS, name, spy)
    return calls


def amounts(calls, name):
    """Return the absolute amounts of an operation, after checking that both signs are common."""
    drawn = [amount for called, amount in calls if called == name]
    if any(drawn):
        assert 0.3 < np.mean([np.signbit(amount) for amount in drawn]) < 0.7
    return {round(abs(amount), 4) for amount in drawn}


def test_randaugment_uses_all_operations_alike(image, calls):
    """Operations are drawn uniformly, with the amounts of torchvision's magnitude 9 of 30."""
    rng = np.random.default_rng(0)
    for _ in range(1400):
        rand_augment(image, rng, 2, 3.0)
    assert len(calls) == 2800
    counts = [sum(name == n for n, _ in calls) for name in LARGEST]
    assert min(counts) > 150 and max(counts) < 250
    expected = dict.fromkeys(("color", "contrast", "brightness", "sharpness"), 0.27)
    expected |= {"rotate": 9.0, "shear_x": 0.09, "shear_y": 0.09}
    # 45 of 331 pixels, of an image with 110 columns and 80 rows.
    expected |= {"translate_x": 14.9547, "translate_y": 10.8761}
    for name, amount in expected.items():
        assert amounts(calls, name) == {amount}, name
    assert amounts(calls, "posterize") == {1.2}  # 7 bits remain
    assert amounts(calls, "solarize") == {76.8}  # from 179.2; torchvision's threshold is 178.5


def test_trivialaugment_draws_the_published_amounts(image, calls):
    """One operation per image; all 31 strengths of torchvision's wide ranges occur."""
    rng = np.random.default_rng(0)
    for number in range(6000):
        trivial_augment(image, rng)
        assert len(calls) == number + 1
    counts = [sum(name == n for n, _ in calls) for name in LARGEST]
    assert min(counts) > 350 and max(counts) < 510
    steps = np.linspace(0, 1, 31)
    wide = dict.fromkeys(("color", "contrast", "brightness", "sharpness"), 0.99)
    wide |= {"shear_x": 0.99, "shear_y": 0.99, "rotate": 135.0}
    wide |= {"translate_x": 32.0, "translate_y": 32.0}
    for name, largest in wide.items():
        assert amounts(calls, name) == {round(largest * step, 4) for step in steps}, name
    # torchvision keeps 8 to 2 bits: 8 at steps 0 to 2, 7 at 3 to 7, ..., 2 at 28 to 30.
    kept = [8 - round(amount) for amount in sorted(amounts(calls, "posterize"))]
    assert kept == [8] * 3 + [7] * 5 + [6] * 5 + [5] * 5 + [4] * 5 + [3] * 5 + [2] * 3
    # torchvision's thresholds go from 255 to 0, where the authors and netzoo start at 256.
    thresholds = [256 - amount for amount in sorted(amounts(calls, "solarize"))]
    np.testing.assert_allclose(thresholds, np.linspace(255, 0, 31), atol=1)


def test_autoaugment_draws_the_published_policy(image, calls):
    """Operations occur as often, and with the amounts, of the policy for ImageNet."""
    rng, images = np.random.default_rng(0), 10_000
    for _ in range(images):
        auto_augment(image, rng)
    # Sums of the published probabilities over the 25 pairs.
    expected = {"posterize": 2.8, "rotate": 3.6, "solarize": 3.6, "autocontrast": 1.2}
    expected |= {"equalize": 11.2, "invert": 1.8, "color": 3.8, "contrast": 2.0}
    expected |= {"sharpness": 0.4, "shear_x": 0.6}
    assert {name for name, _ in calls} == set(expected)
    for name, total in expected.items():
        stated = sum(p for pair in IMAGENET_POLICY for other, p, _ in pair if other == name)
        assert round(stated, 9) == total, name
        count, mean = sum(name == n for n, _ in calls), total / 25 * images
        assert abs(count - mean) < 5 * mean**0.5, name
    # Magnitudes 0 to 9 are evenly spaced.
    assert amounts(calls, "rotate") == {10.0, 26.6667, 30.0}
    assert amounts(calls, "shear_x") == {0.1667}
    assert amounts(calls, "color") == {0.0, 0.2, 0.4, 0.8}
    assert amounts(calls, "contrast") == {0.8} and amounts(calls, "sharpness") == {0.7}
    assert {8 - round(amount) for amount in amounts(calls, "posterize")} == {6, 5, 4}
    thresholds = [256 - amount for amount in sorted(amounts(calls, "solarize"))]
    np.testing.assert_allclose(thresholds, [170, 141.7, 113.3, 56.7, 28.3], atol=1)


def test_autoaugment_applies_pairs(image, calls):
    """Two operations at most, in the order of the policy."""
    seen, rng = set(), np.random.default_rng(0)
    for _ in range(3000):
        calls.clear()
        auto_augment(image, rng)
        seen.add(tuple(name for name, _ in calls))
    assert max(map(len, seen)) == 2 and () in seen
    assert ("invert", "equalize") in seen and ("equalize", "invert") not in seen
    assert ("color", "contrast") in seen and ("contrast", "color") not in seen


def test_colour_jitter_draws_as_torchvision_does(image, calls):
    """Factors are uniform between max(0, 1 - strength) and 1 + strength, in any order."""
    rng, orders = np.random.default_rng(0), set()
    for _ in range(2000):
        before = len(calls)
        color_jitter(image, rng, (0.4, 2.0, 1.0, 0.1))
        orders.add(tuple(name for name, _ in calls[before:]))
    assert len(orders) == 24
    ranges = {"brightness": (0.6, 1.4), "contrast": (0, 3), "color": (0, 2), "hue": (0.9, 1.1)}
    for name, (low, high) in ranges.items():
        factors = [1 + amount for called, amount in calls if called == name]
        counts, _ = np.histogram(factors, 10, (low, high))
        assert counts.sum() == len(factors) == 2000
        assert np.abs(counts - 200).max() < 5 * 180**0.5, name


def test_colour_jitter_of_strength_0_changes_nothing(image, calls):
    """A property whose strength is 0 stays."""
    color_jitter(image, np.random.default_rng(0), (0.0, 0.4, 0.0, 0.0))
    assert [name for name, _ in calls] == ["contrast"]
    assert color_jitter(image, np.random.default_rng(0), (0.0, 0.0, 0.0, 0.0)) is image
