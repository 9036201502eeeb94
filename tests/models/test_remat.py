"""Rematerialisation: the same step with less memory."""

import contextlib

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.models import create_model, resnet, vit
from netzoo.models.remat import rematerialized_blocks
from tests.models.small_transformer import SOURCE, TARGET
from tests.models.small_transformer import small as small_transformer

IMAGES = np.random.default_rng(1).normal(size=(2, 32, 32, 3))


def small_resnet(**options):
    variant = resnet.Variant((2, 1, 1, 1), bottleneck=False)
    return resnet.ResNet(variant=variant, num_classes=5, drop_path_rate=0.5, **options)


def small_vit(**options):
    variant = vit.Variant(width=32, depth=3, mlp_dim=64, heads=2, patch=8)
    return vit.ViT(variant, num_classes=5, drop_path_rate=0.5, **options)


# Separate and scanned blocks, with statistics, drop path and dropout.
NETWORKS = {
    "resnet": (small_resnet, (IMAGES,)),
    "vit": (small_vit, (IMAGES,)),
    "transformer": (small_transformer, (SOURCE, TARGET)),
}
# One network per class with blocks, and the smallest square images.
NAMES = {
    "googlenet_bn": 32,
    "mobilenet_v1_025": 32,
    "mobilenet_v2_035": 32,
    "mobilenet_v3_small": 32,
    "resnet18": 32,
    "vit_ti16": 16,
    "r26_s32": 32,
}


def loss_of(model, remat):
    """Return `(params, rest, inputs) -> (loss, new statistics)` of a training step."""

    def loss(params, rest, inputs):
        with rematerialized_blocks() if remat else contextlib.nullcontext():
            logits, state = model.apply(
                {"params": params, **rest},
                *inputs,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(0)},
            )
        return (logits * jnp.arange(logits.size).reshape(logits.shape)).sum() / logits.size, state

    return loss


def shapes_of(model, inputs):
    """Return parameters and statistics as shapes."""
    variables = dict(
        jax.eval_shape(lambda key, x: model.init(key, *x, train=False), jax.random.key(0), inputs)
    )
    return variables.pop("params"), variables


def temporary_bytes(model, image_size, batch_size, remat, device=None):
    """Return the memory that a compiled gradient needs besides its inputs and outputs."""
    images = jax.ShapeDtypeStruct((batch_size, image_size, image_size, 3), jnp.float32)
    arguments = (*shapes_of(model, (images,)), (images,))
    if device is not None:  # may be an abstract device
        sharding = jax.sharding.SingleDeviceSharding(device)
        arguments = jax.tree.map(lambda x: x.update(sharding=sharding), arguments)
    step = jax.jit(jax.grad(loss_of(model, remat), has_aux=True))
    return step.lower(*arguments).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_same_loss_gradients_and_statistics(kind):
    """Results equal in float64 up to rounding: the same masks, and statistics updated once."""
    make, inputs = NETWORKS[kind]
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        model = make(dtype=jnp.float64)
        params, rest = jax.tree.map(
            lambda leaf: jnp.asarray(0.5 + 0.1 * rng.normal(size=leaf.shape)),
            shapes_of(model, inputs),
        )
        plain, again = (
            jax.jit(jax.value_and_grad(loss_of(model, remat), has_aux=True))(params, rest, inputs)
            for remat in (False, True)
        )
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(plain))
    assert jax.tree.structure(plain) == jax.tree.structure(again)
    for expected, found in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * largest)


@pytest.mark.parametrize("name", NAMES)
def test_all_blocks_are_found(name, monkeypatch):
    """Exactly the blocks of every family are computed again."""
    found = set()
    remat = nn.remat

    def noted(call, **options):
        def run(module, *args):
            found.add(module.path)
            return remat(call, **options)(module, *args)

        return run

    monkeypatch.setattr(nn, "remat", noted)
    model = create_model(name, num_classes=5)
    images = jax.ShapeDtypeStruct((2, NAMES[name], NAMES[name], 3), jnp.float32)
    params, rest = shapes_of(model, (images,))
    assert not found
    jax.eval_shape(loss_of(model, remat=True), params, rest, (images,))
    paths = flax.traverse_util.flatten_dict(params)
    blocks = {p[: i + 1] for p in paths for i, part in enumerate(p) if "block" in part}
    assert found == blocks and blocks


@pytest.mark.slow
@pytest.mark.parametrize("make", [small_resnet, small_vit])
def test_less_memory(make, full_compilation):
    """Compiled programs need less memory, with separate and scanned blocks."""
    before, after = (temporary_bytes(make(), 64, 32, remat) for remat in (False, True))
    assert after < 0.8 * before


@pytest.mark.parametrize("name", ["alexnet_owt", "vgg11"])
def test_networks_without_blocks(name):
    """Rematerialising a network without blocks is an error."""
    model = create_model(name, num_classes=5)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    with pytest.raises(UserError, match=r"no blocks.*train\.remat"):
        jax.eval_shape(loss_of(model, remat=True), *shapes_of(model, (images,)), (images,))
