"""The quick form of the lesson on GoogLeNet. It trains nothing, because training takes minutes."""

import jax
import numpy as np
import optax
import pytest

from netzoo.models import create_model
from netzoo.models.summary import model_summary
from netzoo.teaching import initial_variables
from netzoo.teaching.record import read_numbers
from tests.teaching.conftest import RESULTS


def test_costs_are_those_of_the_network(quick_numbers):
    lesson, numbers = quick_numbers("googlenet")
    parts = model_summary(create_model("googlenet"), 224).parts
    weights, macs = numbers["costs/with"].sum(1) * 1e6
    assert macs == pytest.approx(sum(p.macs for p in parts if p.name.startswith("stage")))
    biases = sum(p.parameters for p in parts if p.name.startswith("stage")) - weights
    # One for each output channel of the nine modules, and 1472 for those of the reductions.
    assert biases == pytest.approx(256 + 480 + 512 * 3 + 528 + 832 * 2 + 1024 + 1472)
    assert [claim.verdict for claim in lesson.claims(numbers)] == ["shown"] * 2
    assert set(lesson.draw(numbers)) == {"reductions"}


def test_without_reductions_the_larger_kernels_see_all_channels(quick_numbers):
    # Module 3a has 192 inputs and 64, 128, 32, 32 outputs (table 1), at 28x28 positions.
    weights, macs = quick_numbers("googlenet")[1]["costs/without"][:, 0]
    assert weights * 1e6 == pytest.approx(192 * (64 + 9 * 128 + 25 * 32 + 32))
    assert macs == pytest.approx(weights * 28**2)


def test_average_pooling_needs_fewer_weights(quick_numbers):
    numbers = quick_numbers("googlenet")[1]
    dense, average = numbers["weights/dense"], numbers["weights/average pooling"]
    added = 4 * 4 * 64 * 256 + 256 + 256 * 5 + 5 - (64 * 5 + 5)
    assert (dense - average) * 1e3 == pytest.approx(added)


def test_the_page_says_what_the_record_shows():
    numbers = read_numbers(RESULTS / "googlenet")
    gradients = numbers["gradients/with heads"] / numbers["gradients/without heads"]
    accuracy = {name: numbers[f"accuracy/{name}"] for name in ("average pooling", "dense")}
    faster = numbers["loss/without heads"] - numbers["loss/with heads"]
    jump = numbers["loss/with heads"][:, 6] - numbers["loss/with heads"][:, 5]  # step 90
    assert 3.5 < gradients[:, 0].mean() < 4
    np.testing.assert_allclose(gradients[:, 7:], 1, rtol=1e-6)  # modules behind 4d
    assert (faster[:, -1] > 0).all()
    assert np.sort(jump)[0] < 0 < np.sort(jump)[1]
    assert (accuracy["dense"][0] > 0.99).all()
    assert (accuracy["average pooling"] < accuracy["dense"]).all()


@pytest.mark.slow
def test_heads_increase_the_gradients_before_them():
    model = create_model("googlenet", num_classes=5)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    variables, labels = initial_variables(model, pixels), np.arange(8) % 5
    entropy = optax.softmax_cross_entropy_with_integer_labels

    @jax.jit
    def norms(weight):
        def loss(params):
            options = {"mutable": ["auxiliary"], "rngs": {"dropout": jax.random.key(0)}}
            images = pixels / 127.5 - 1
            logits, state = model.apply({"params": params}, images, train=True, **options)
            heads = sum(entropy(head, labels).mean() for head in state["auxiliary"].values())
            return entropy(logits, labels).mean() + weight * heads

        gradients = jax.grad(loss)(variables["params"])
        return {part: optax.tree.norm(gradients[part]) for part in ("stem", "stage5_block2")}

    without, with_heads = norms(0.0), norms(0.3)
    assert with_heads["stem"] > 2 * without["stem"]
    np.testing.assert_allclose(with_heads["stage5_block2"], without["stage5_block2"], rtol=1e-6)
