"""The loss around trained weights."""

import numpy as np
import pytest

from netzoo.teaching import loss_along, random_direction

RNG = np.random.default_rng(7)
PARAMS = {
    "conv": {"kernel": RNG.normal(size=(3, 3, 4, 5)).astype(np.float32)},
    "dense": {"kernel": RNG.normal(size=(6, 2)).astype(np.float32), "bias": np.ones(2, np.float32)},
}


def lengths(kernel):
    return np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0)


@pytest.mark.parametrize("layer", ["conv", "dense"])
def test_filters_of_a_direction_are_as_long_as_those_of_the_network(layer):
    step, kernel = random_direction(PARAMS)[layer]["kernel"], PARAMS[layer]["kernel"]
    assert step.shape == kernel.shape and step.dtype == np.float32
    # Two float32 roundings of numbers around 2.
    np.testing.assert_allclose(lengths(step), lengths(kernel), rtol=1e-6)
    assert not np.allclose(step, kernel, atol=0.1)


def test_biases_stay_and_seeds_differ():
    first, second = random_direction(PARAMS, 0), random_direction(PARAMS, 1)
    assert not first["dense"]["bias"].any()
    assert not np.allclose(first["conv"]["kernel"], second["conv"]["kernel"], atol=0.1)


def test_loss_along_a_direction_moves_the_parameters_alone():
    variables = {"params": {"w": np.float32([1, 2])}, "batch_stats": {"mean": np.float32([5])}}

    def evaluate(moved):
        assert moved["batch_stats"] is variables["batch_stats"]
        return {"loss": float((moved["params"]["w"] ** 2).sum()), "accuracy": 0.0}

    losses = loss_along(evaluate, variables, {"w": np.float32([0, 2])}, np.array([-1.0, 0.0, 0.5]))
    np.testing.assert_array_equal(losses, [1, 5, 10])  # small whole numbers are exact
