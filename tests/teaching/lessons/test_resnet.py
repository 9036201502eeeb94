"""The quick form of the lesson on ResNet."""

import numpy as np
import pytest

from lessons.resnet import DEPTHS, KINDS, Network
from netzoo.models.summary import variable_shapes
from netzoo.teaching import gradient_norms, initial_variables


def network(depth, kind):
    return Network(5, DEPTHS[depth], 4, kind == "residual")


def test_a_network_of_18_layers_has_18_and_shortcuts_have_no_parameters():
    plain, residual = (variable_shapes(network(18, kind), 32)["params"] for kind in KINDS)
    assert len([name for name in plain if name.startswith(("Conv", "Dense"))]) == 18
    assert plain == residual


@pytest.mark.slow
def test_shortcuts_even_out_the_gradients():
    """With the six layers of the quick form, the two kinds do not differ."""
    rng, growth = np.random.default_rng(0), {}
    images = rng.integers(0, 256, (64, 32, 32, 3), np.uint8)
    labels = np.arange(64) % 5
    for kind in KINDS:
        model = network(34, kind)
        norms = gradient_norms(model, initial_variables(model, images), images, labels)
        growth[kind] = norms["Conv_1/kernel"] / norms["Conv_32/kernel"]
    # Plain gradients grow 1.1 times in each of 31 layers, residual ones 3 times in all.
    assert growth["plain"] > 4 * growth["residual"]


def test_batch_norm_finds_less_variance_behind_dropout(quick_numbers):
    _, numbers = quick_numbers("resnet")
    none, before, end = (
        numbers[f"ratio/{x}"][0] for x in ("no dropout", "before BatchNorm", "at the end")
    )
    # BatchNorms 0 and 1 stand before the dropout. The rate is 0.5.
    np.testing.assert_allclose(before[:2], none[:2], atol=0.1)
    assert before[2] < 0.65 * min(none[2], end[2])


def test_claims_and_figures_of_the_quick_form(quick_numbers):
    """Training errors, losses and evened-out gradients need deep networks and minutes."""
    lesson, numbers = quick_numbers("resnet")
    verdicts = [claim.verdict for claim in lesson.claims(numbers)]
    assert len(verdicts) == 8 and verdicts[6] == "shown"  # the variance
    assert set(lesson.draw(numbers)) == {"degradation", "inside", "dropout"}
