"""Exporting and loading are exact, for every family and project."""

import os

import jax
import numpy as np
import pytest
from safetensors import safe_open

from netzoo.errors import UserError
from netzoo.models import create_model
from netzoo.weights import save_safetensors, to_torch
from netzoo.weights.families import FAMILIES, layouts
from netzoo.weights.state_dict import to_tensors, to_variables
from tests.conftest import fast_only
from tests.weights.drawn import assert_identical, draw, shapes_of

# Networks that differ in structure, with their options, and smaller sizes for some, because the
# conversion does not depend on sizes.
NETWORKS = {
    "alexnet_owt": ({}, {4096: 8}),
    "googlenet_tv": ({}, {}),
    "googlenet_tv without auxiliary classifiers": ({"auxiliary": False}, {}),
    "mobilenet_v1_025": ({}, {}),
    "mobilenet_v1_100h": ({}, {}),
    "mobilenet_v2_035": ({}, {}),
    "mobilenet_v2_110d": ({}, {}),
    "mobilenet_v3_large_150d": ({}, {}),
    "mobilenet_v3_small": ({}, {}),
    "mobilenet_v3_small_minimalistic": ({}, {}),
    "r26_s32": ({}, {384: 12, 1024: 8, 1536: 8, 2048: 16}),
    "r_ti16": ({}, {}),
    "resnet18": ({}, {512: 8}),
    "resnet50": ({}, {512: 8, 2048: 16}),
    "transformer_base": ({}, {512: 16, 2048: 8}),
    "vgg11": ({}, {4096: 8}),
    "vgg11_bn": ({}, {4096: 8}),
    "vit_ti16": ({}, {}),
    "vit_ti16 before fine-tuning": ({"representation_size": 192}, {}),
    "vit_ti16 without class token": ({"pool": "gap"}, {}),
    "vit_ti16 with all options": (
        {
            **{"register_tokens": 4, "patch_positions_only": True, "layer_scale": 1e-5},
            **{"pool": "patches", "norm_after_pool": True, "pre_norm": True},
        },
        {},
    ),
}

# One network per family. The others have more of the same tensors, or lack some.
FAST = (
    "alexnet_owt",
    "googlenet_tv without auxiliary classifiers",
    "mobilenet_v1_025",
    "mobilenet_v2_035",
    "mobilenet_v3_small_minimalistic",
    "r_ti16",
    "resnet18",
    "transformer_base",
    "vgg11",
    "vit_ti16",
)


def network(name):
    """Return the module in a smaller size, and its shapes."""
    options, replaced = NETWORKS[name]
    module, shapes = shapes_of(name.split()[0], **options)
    return module, jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            tuple(replaced.get(size, size) for size in leaf.shape), leaf.dtype
        ),
        shapes,
    )


@pytest.mark.parametrize("name", fast_only(NETWORKS, FAST))
def test_round_trip(name):
    """Nothing is lost, merged or transposed the wrong way in either direction."""
    module, shapes = network(name)
    variables = draw(shapes)
    for project, make_layout in layouts(module).items():
        layout = make_layout(module, shapes)
        theirs = to_tensors(variables, layout)
        assert all(value.flags.c_contiguous for value in theirs.values())
        assert_identical(to_variables(theirs, layout, shapes, project), variables)


def test_every_family_is_there():
    """Every family must be in the table above."""
    modules = [create_model(name.split()[0]) for name in NETWORKS]
    assert {type(module) for module in modules} == set(FAMILIES)


def test_metadata(tmp_path):
    """PyTorch's libraries look for `format`, netzoo for `model`; no partial file remains."""
    variables = draw(shapes_of("mobilenet_v1_025")[1])
    for project, expected in (
        (None, {"format": "netzoo", "model": "mobilenet_v1_025", "options": "{}"}),
        ("timm", {"format": "pt"}),
    ):
        path = tmp_path / "a.safetensors"
        save_safetensors(path, variables, "mobilenet_v1_025", project)
        with safe_open(path, framework="numpy") as file:
            assert file.metadata() == expected
    assert list(tmp_path.iterdir()) == [path]


def test_torchvision_tensors():
    """Tensors have the names, axis orders and dtypes of torchvision's network."""
    variables = draw(network("vgg11")[1])
    tensors = to_torch(variables, "vgg11")
    kernel = variables["params"]["stage1_block1"]["kernel"]
    np.testing.assert_array_equal(tensors["features.0.weight"], kernel.transpose(3, 2, 0, 1))
    assert {value.dtype for value in tensors.values()} == {np.dtype(np.float32)}


def test_unknown_project():
    """The error lists the known projects."""
    with pytest.raises(UserError, match="valid: torchvision, timm"):
        to_torch({"params": {}}, "resnet50", "caffe2")


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_follow_the_umask(tmp_path, umask):
    """The file has the permissions of the umask."""
    before = os.umask(umask)
    try:
        save_safetensors(tmp_path / "a.safetensors", {"params": {"x": np.ones(2)}}, "resnet18")
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
