"""The quick form of the lesson on MobileNetV3."""

import numpy as np
import pytest

from lessons.mobilenet_v3 import NETWORKS, PARTS, latency
from netzoo import teaching


def test_hard_swish_follows_swish(quick_numbers):
    _, numbers = quick_numbers("mobilenet_v3")
    values = {name: numbers[f"value/{name}"] for name in ("hard-swish", "swish", "ReLU6")}
    distances = {name: abs(value - values["swish"]).max() for name, value in values.items()}
    # Hard-swish differs most from swish at ±3, by 3 * (1 - sigmoid(3)).
    assert distances["hard-swish"] == pytest.approx(3 / (1 + np.exp(3)), rel=1e-4)
    # ReLU6 differs most at swish's minimum, about -1.278, between two points of the grid.
    assert distances["ReLU6"] == pytest.approx(0.2785, rel=1e-3)


def test_claims_and_figures_of_the_quick_form(quick_numbers):
    """Gates, accuracies and latency need full networks. The quick form shows only the values."""
    lesson, numbers = quick_numbers("mobilenet_v3")
    assert [claim.verdict for claim in lesson.claims(numbers)][1] == "shown"
    assert set(lesson.draw(numbers)) == {"gates", "hard_swish"}
    gates = {name: means for name, means in numbers.items() if name.startswith("gate/")}
    assert len(gates) == numbers["share"].shape[1] == 2
    assert all(means.min() >= 0 and means.max() <= 1 for means in gates.values())


@pytest.mark.slow
def test_parts_of_the_latency_have_the_multiply_adds_of_the_networks(monkeypatch):
    monkeypatch.setattr(
        teaching, "interleaved_times", lambda calls, rounds: {c: np.ones(1) for c in calls}
    )
    numbers = latency()
    # MobileNetV2 and V3-Large have 300 and 219 million multiply-adds in the papers' tables.
    assert numbers["macs/V2"].sum() == pytest.approx(300, rel=0.02)
    assert numbers["macs/V3-Large"].sum() == pytest.approx(219, rel=0.02)
    assert all((numbers[f"macs/{name}"] > 0).all() for name in NETWORKS)
    assert numbers["latency/V2"].shape == (1, len(PARTS))
