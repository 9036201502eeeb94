"""The contract of every family.

Image sizes, results of training, and files. It is tested on one small network per family, without
compilation.
"""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import netzoo
from netzoo.errors import UserError
from netzoo.models import create_model, model_entry
from netzoo.models.summary import variable_shapes
from netzoo.weights import save_safetensors

# Names, and heights and widths that are not powers of two.
FAMILIES = {
    "alexnet": (75, 101),
    "alexnet_owt": (75, 101),
    "vgg11_bn": (45, 77),
    "googlenet_tv": (45, 77),
    "mobilenet_v1_025": (45, 77),
    "mobilenet_v2_035": (45, 77),
    "mobilenet_v3_small_075": (45, 77),
    "resnet18": (45, 77),
    "vit_ti16": (48, 80),
    "r_ti16": (64, 96),
}


def shapes(name, size):
    """Return the variables, and the outputs of both modes, as shapes."""
    model, images = create_model(name, num_classes=5), jnp.zeros((2, *size, 3))

    def forward(key):
        variables = model.init(key, images, train=False)
        evaluated = model.apply(variables, images, train=False)
        rngs = {"dropout": key}
        trained = model.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)
        return variables, evaluated, trained

    with jax.numpy_rank_promotion("raise"):  # a setting of some users
        return jax.eval_shape(forward, jax.random.key(0))


@pytest.mark.parametrize("name", FAMILIES)
def test_odd_sizes_and_what_training_changes(name):
    """Any large enough image is valid; training returns only logits and statistics."""
    variables, evaluated, (trained, state) = shapes(name, FAMILIES[name])
    for logits in (evaluated, trained):
        assert (logits.shape, logits.dtype) == ((2, 5), jnp.float32)
    assert set(variables) <= {"params", "batch_stats"}
    statistics = variables.get("batch_stats", {})
    chex.assert_trees_all_equal_shapes_and_dtypes(state.get("batch_stats", {}), statistics)
    assert set(state) <= {"batch_stats"}


@pytest.mark.parametrize("name", FAMILIES)
def test_pixels_are_refused(name):
    """uint8 images, which are not normalised, are an error."""
    model, pixels = create_model(name, num_classes=5), jnp.zeros((2, *FAMILIES[name], 3), jnp.uint8)
    with pytest.raises(UserError, match="normalised float32 images, got uint8"):
        jax.eval_shape(lambda key: model.init(key, pixels, train=False), jax.random.key(0))


@pytest.mark.parametrize("name", [*FAMILIES, "transformer_tiny"])
def test_own_files_lose_nothing(name, tmp_path):
    """Saved variables are loaded exactly, including scanned stacks and statistics."""
    size = 64 if model_entry(name).image_size else 0
    # Dense layers of 4096 features would make files of half a gigabyte.
    small = "hidden_features" in inspect.signature(model_entry(name).factory).parameters
    options = {"hidden_features": 16} if small else {}
    model = create_model(name, num_classes=5, **options)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.random(leaf.shape, np.float32), variable_shapes(model, size)
    )
    save_safetensors(tmp_path / "own.safetensors", variables, name)
    path = tmp_path / "own.safetensors"
    loaded = netzoo.load_weights(path, num_classes=5, image_size=size, **options)
    chex.assert_trees_all_equal(loaded, variables)
