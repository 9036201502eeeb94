"""Rematerialisation: the same step with less memory."""

import itertools

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo import kernels
from netzoo.config import task_table
from netzoo.errors import UserError
from netzoo.models import create_model, resnet, vit
from netzoo.models.remat import NONE, POLICIES, rematerialized_blocks
from tests.jaxprs import operations
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


def loss_of(model, policy):
    """Return `(params, rest, inputs) -> (loss, new statistics)` of a training step."""

    def loss(params, rest, inputs):
        with rematerialized_blocks(policy):
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


def temporary_bytes(model, image_size, batch_size, policy, device=None):
    """Return the memory that a compiled gradient needs besides its inputs and outputs."""
    images = jax.ShapeDtypeStruct((batch_size, image_size, image_size, 3), jnp.float32)
    arguments = (*shapes_of(model, (images,)), (images,))
    if device is not None:  # may be an abstract device
        sharding = jax.sharding.SingleDeviceSharding(device)
        arguments = jax.tree.map(lambda x: x.update(sharding=sharding), arguments)
    step = jax.jit(jax.grad(loss_of(model, policy), has_aux=True))
    return step.lower(*arguments).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", NETWORKS)
def test_same_loss_gradients_and_statistics(kind, policy):
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
            jax.jit(jax.value_and_grad(loss_of(model, each), has_aux=True))(params, rest, inputs)
            for each in (NONE, policy)
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
    jax.eval_shape(loss_of(model, "blocks"), params, rest, (images,))
    paths = flax.traverse_util.flatten_dict(params)
    blocks = {p[: i + 1] for p in paths for i, part in enumerate(p) if "block" in part}
    assert found == blocks and blocks


@pytest.mark.slow
@pytest.mark.parametrize("make", [small_resnet, small_vit])
def test_less_memory(make, full_compilation):
    """Compiled programs need less memory, with separate and scanned blocks."""
    before, after = (temporary_bytes(make(), 64, 32, policy) for policy in (NONE, "blocks"))
    assert after < 0.8 * before


@pytest.mark.parametrize("name", ["alexnet_owt", "vgg11"])
def test_networks_without_blocks(name):
    """Rematerialising a network without blocks is an error."""
    model = create_model(name, num_classes=5)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    with pytest.raises(UserError, match=r"no blocks.*train\.remat"):
        jax.eval_shape(loss_of(model, "blocks"), *shapes_of(model, (images,)), (images,))


def test_the_key_names_the_policies():
    """The configuration offers every policy, and only these."""
    rule = task_table("image_classification").keys["train.remat"].rule
    assert all(map(rule.holds, (NONE, *POLICIES)))
    assert rule.wanted == (
        "none (not False), blocks (not True), dots_saveable or dots_with_no_batch_dims_saveable"
    )


def test_unknown_policy():
    """The error names the nearest policy."""
    with (
        pytest.raises(UserError, match="did you mean dots_saveable"),
        rematerialized_blocks("dot_saveable"),
    ):
        pass


def forward_program(model, images, policy):
    """Return the forward pass of a gradient as a program; its results are the residuals."""

    def forward(params, rest, images):
        return jax.vjp(lambda p: loss_of(model, policy)(p, rest, (images,)), params, has_aux=True)[
            1
        ]

    return jax.make_jaxpr(forward)(*shapes_of(model, (images,)), images)


@pytest.mark.parametrize(
    ("make", "policies"),
    [
        # From the largest amount to the smallest; the products of attention have a batch axis.
        (small_vit, (NONE, "dots_saveable", "dots_with_no_batch_dims_saveable", "blocks")),
        (small_resnet, (NONE, "dots_saveable", "blocks")),
    ],
)
def test_native_policies_keep_different_amounts(make, policies):
    """Every policy is a program of its own, without the branch that only XLA on CPU needs."""
    images = jax.ShapeDtypeStruct(IMAGES.shape, jnp.float32)
    with kernels.use_backend("native"):
        programs = [forward_program(make(), images, policy) for policy in policies]
    kept = [sum(x.size * x.dtype.itemsize for x in p.out_avals) for p in programs]
    assert all(more > less for more, less in itertools.pairwise(kept)), kept
    assert not any("cond[" in str(program) for program in programs)


def test_separate_blocks_run_in_branches_on_a_cpu():
    """XLA's CPU backend would store the activations of all blocks without the branch."""
    images = jax.ShapeDtypeStruct(IMAGES.shape, jnp.float32)
    with kernels.use_backend("cpu"):
        assert "cond[" in str(forward_program(small_resnet(), images, "blocks"))


@pytest.mark.parametrize(
    ("backend", "policy", "times"), [("cpu", NONE, 1), ("native", NONE, 2), ("native", "blocks", 2)]
)
def test_how_often_attention_weights_are_computed(backend, policy, times):
    """Protects rematerialised blocks on accelerators, where attention computes weights again.

    The blocks share one loop, in which a softmax has one exponential.
    """
    model = small_vit()
    arguments = (*shapes_of(model, (IMAGES,)), (IMAGES,))
    with kernels.use_backend(backend):
        gradient = jax.make_jaxpr(jax.grad(loss_of(model, policy), has_aux=True))(*arguments)
    found = [each.equation for each in operations(gradient.jaxpr, {}) if each.name == "exp"]
    weights = (len(IMAGES), model.variant.heads, 17, 17)
    assert [each.outvars[0].aval.shape for each in found].count(weights) == times
