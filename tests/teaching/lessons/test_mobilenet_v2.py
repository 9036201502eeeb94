"""The quick form of the lesson on MobileNetV2, and its closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lessons.mobilenet_v2 import CLASSIC, NONE, RELU, V2, Network

WIDE = 112 * 112 * 96  # numbers of the largest tensor of MobileNetV2, in the first block of stage 2


def verdicts(lesson, numbers):
    return [claim.verdict for claim in lesson.claims(numbers)]


def test_relu_keeps_more_in_more_dimensions(quick_numbers):
    _, numbers = quick_numbers("mobilenet_v2")
    assert numbers["error/2"].mean() > numbers["error/5"].mean() > numbers["error/30"].mean()


def test_the_live_tensors_follow_the_formula_of_the_paper(quick_numbers):
    _, numbers = quick_numbers("mobilenet_v2")
    v1, v2 = numbers["live/v1"], numbers["live/v2"]
    # Stem, 13 blocks; stem, 17 blocks, head. Numbers have two bytes.
    assert v1.shape == (14, 2)
    assert v2.shape == (19, 2)
    assert v1[:, 0].max() == pytest.approx(2e-6 * 112**2 * (32 + 64))
    assert v2[:, 0].argmax() == 2
    assert v2[2] == pytest.approx(2e-6 * np.array([WIDE + WIDE / 4, 112**2 * 16 + 56**2 * 24]))
    assert v2[:, 1].max() == pytest.approx(2e-6 * 112**2 * (32 + 16))


def test_a_part_of_a_block_needs_its_share_of_the_memory(quick_numbers):
    _, numbers = quick_numbers("mobilenet_v2")
    (one, whole), (twelve, part) = numbers["parts"]
    assert (one, twelve) == (1, 12)
    assert whole > 4e-6 * WIDE
    assert part == pytest.approx(whole / 12, rel=0.1)


def test_the_variants_have_the_same_layers_but_compute_different_functions():
    layers, programs = set(), set()
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    for variant in (V2, RELU, CLASSIC, NONE):
        model = Network(5, variant)
        init = functools.partial(model.init_with_output, train=False)
        program, (_, variables) = jax.make_jaxpr(init, return_shape=True)(jax.random.key(0), image)
        layers.add(str(variables))
        programs.add(str(program))
    assert (len(layers), len(programs)) == (1, 4)


def test_the_claims_follow_the_accuracies(quick_numbers):
    # Training in the quick form would take as long to compile as all other tests of the lessons.
    lesson, numbers = quick_numbers("mobilenet_v2")
    accuracy = {
        V2: [[20, 60], [20, 61], [20, 62]],
        RELU: [[20, 50], [20, 51], [20, 52]],
        CLASSIC: [[20, 62], [20, 59], [20, 61]],
        NONE: [[20, 70], [20, 70], [20, 70]],
    }
    trained = {f"accuracy/{name}": np.array(values) for name, values in accuracy.items()}
    numbers = numbers | trained | {"steps": np.array([0, 300])}
    assert verdicts(lesson, numbers)[:3] == ["shown"] * 3
    assert verdicts(lesson, numbers)[3:] == ["shown", "shown weakly", "not shown at this scale"]
    assert set(lesson.draw(numbers)) == {"spiral", "memory", "training"}


def test_the_quick_form_draws_what_it_measured(quick_numbers):
    lesson, numbers = quick_numbers("mobilenet_v2")
    assert set(lesson.draw(numbers)) == {"spiral", "memory"}
    assert verdicts(lesson, numbers) == ["shown"] * 3
