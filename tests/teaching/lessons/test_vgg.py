"""The quick form of the lesson on VGG. It trains nothing, because training takes minutes."""

import numpy as np
import pytest

from netzoo.teaching.record import read_numbers
from tests.teaching.conftest import RESULTS


def test_stacks_see_as_far_as_one_kernel_but_mostly_the_centre(quick_numbers):
    # The effective width of n convolutions with random kernels is sqrt(1 + n (k^2 - 1)) (Luo et
    # al., arXiv:1701.04128, section 2). With 20 networks, the quick form is off by a few percent.
    lesson, numbers = quick_numbers("vgg")
    expected = {"one 5x5": 5, "two 3x3": 17**0.5, "one 7x7": 7, "three 3x3": 5}
    for name, reach in {"one 5x5": 5, "two 3x3": 5, "one 7x7": 7, "three 3x3": 7}.items():
        theory, effective = numbers[f"widths/{name}"]
        assert theory == reach, name
        assert effective == pytest.approx(expected[name], rel=0.06), name
    assert [claim.verdict for claim in lesson.claims(numbers)] == ["shown"] * 2
    assert set(lesson.draw(numbers)) == {"receptive_fields"}


def test_costs_are_those_of_the_paper(quick_numbers):
    # Between stages of C channels, two 3x3 have 18 C^2 weights and one 5x5 has 25 C^2; three have
    # 27 C^2 and one 7x7 has 49 C^2 (section 2.3). A BatchNorm has 2 C. Two stages, and C is 24.
    numbers = quick_numbers("vgg")[1]
    pairs = {("one 5x5", "two 3x3"): (7, 1), ("one 7x7", "three 3x3"): (22, 2)}
    for (one, stack), (weights, norms) in pairs.items():
        parameters, macs = numbers[f"cost/{one}"] - numbers[f"cost/{stack}"]
        assert parameters * 1e3 == pytest.approx(2 * (weights * 24**2 - norms * 2 * 24))
        assert macs * 1e6 == pytest.approx((16**2 + 8**2) * weights * 24**2)


def test_small_deviations_leave_deep_networks_without_gradients(quick_numbers):
    numbers = quick_numbers("vgg")[1]
    shallow, deep = (numbers[f"gradients/small init/{depth}"][0] for depth in (5, 10))
    assert deep < shallow / 100


def test_the_page_says_what_the_record_shows():
    numbers = read_numbers(RESULTS / "vgg")
    loss = {
        way: np.array([numbers[f"loss/{way}/{depth}"][:, -1] for depth in (5, 10, 16)])
        for way in ("BatchNorm", "He init", "He init, rate 0.01", "small init")
    }
    np.testing.assert_allclose(loss["small init"], np.log(5), atol=0.005)
    assert np.sort(loss["He init"][2])[1] > np.log(5) - 0.01 > loss["He init"][2].min()
    assert (loss["BatchNorm"][2] < loss["He init, rate 0.01"][2]).all()
    best = np.minimum(loss["He init"], loss["He init, rate 0.01"]).mean(1)
    assert 0 < best[2] - best[0] < np.diff(loss["BatchNorm"].mean(1)[::2])
