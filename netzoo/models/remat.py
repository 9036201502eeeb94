"""Rematerialisation: blocks recompute activations in the backward pass, to save memory.

The backward pass needs the activations inside every block. Rematerialisation keeps only the inputs
of the blocks, and what a policy adds, and computes the rest again (Chen et al., arXiv:1604.06174):

    with rematerialized_blocks("dots_saveable"):
        logits, state = model.apply(variables, images, train=True, mutable=["batch_stats"])
"""

import contextlib
import contextvars
import re
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp

from netzoo import kernels
from netzoo.errors import UserError, unknown_name
from netzoo.layers import Conv, attention_weights_once

# The policies by name: which values inside a block are kept besides its inputs.
POLICIES = {
    "blocks": jax.checkpoint_policies.nothing_saveable,
    "dots_saveable": jax.checkpoint_policies.dots_saveable,
    "dots_with_no_batch_dims_saveable": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
NONE = "none"  # no rematerialisation
# Names of blocks in all families; the scanned blocks of Transformers share one name.
SCANNED = "blocks"
BLOCK = re.compile(rf"stage\d+_block\d+|{SCANNED}")
_ACTIVE = contextvars.ContextVar("rematerialized_blocks", default=False)


@contextlib.contextmanager
def rematerialized_blocks(policy: str) -> Iterator[None]:
    """Rematerialise the blocks of networks called inside the `with` block.

    Results and statistics do not change; gradients change only by rounding.

    Args:
      policy: "none" to change nothing, or one of `POLICIES`. "blocks" keeps only the inputs of the
        blocks. "dots_saveable" also keeps the results of matrix products and convolutions, and
        "dots_with_no_batch_dims_saveable" those of matrix products without a batch axis: the dense
        layers of a Transformer, but not the products of attention. The CPU implementations of dense
        layers and convolutions are functions with their own gradients, whose products no policy
        sees; a CPU therefore recomputes them.

    Raises:
      UserError: The policy is unknown, or the networks called inside the block have only layers, no
        blocks (AlexNet, VGG).
    """
    if policy == NONE:
        yield
        return
    if policy not in POLICIES:
        raise unknown_name("remat policy", policy, (NONE, *POLICIES))
    has_blocks = False

    def rematerialize(next_call, args, kwargs, context):
        nonlocal has_blocks
        module = context.module
        if context.method_name != "__call__" or not _is_block(module):
            return next_call(*args, **kwargs)
        has_blocks = True
        if module.is_initializing():  # `init` is not differentiated
            return next_call(*args, **kwargs)

        def call(module, *args):
            return context.orig_method.func(module, *args, **kwargs)

        # The loop over scanned blocks separates the forward pass from the recomputation, so it
        # needs no barrier.
        again = nn.remat(call, policy=POLICIES[policy], prevent_cse=module.name != SCANNED)
        if module.name != SCANNED and kernels.backend() == "cpu":
            return _in_branch(module, again, *args, **kwargs)
        return again(module, *args)

    token = _ACTIVE.set(True)
    try:
        with nn.intercept_methods(rematerialize), attention_weights_once():
            yield
    finally:
        _ACTIVE.reset(token)
    if not has_blocks:
        raise UserError(
            "the network has no blocks to rematerialise, only layers; set train.remat to none"
        )


def blocks_are_rematerialized() -> bool:
    """Return whether the caller runs inside `rematerialized_blocks`."""
    return _ACTIVE.get()


def _is_block(module: nn.Module) -> bool:
    # What AlexNet and VGG name a block is a single convolution, without activations to discard.
    path = module.path
    return bool(path and BLOCK.fullmatch(path[-1])) and not isinstance(module, Conv)


def _in_branch(
    block: nn.Module,
    again: Callable[..., jax.Array],
    x: jax.Array,
    **kwargs,
) -> jax.Array:
    """Run a rematerialised block in a branch that is always taken.

    `nn.remat` inserts a barrier that delays the recomputation until the gradient arrives. XLA's CPU
    backend drops the barrier, and so keeps the activations of all blocks. It does not remove a
    branch.
    """
    alone = block.clone(parent=None)
    keys = {"dropout": jax.random.key(0)}
    like, _ = jax.eval_shape(
        lambda v, x: alone.apply(v, x, mutable=True, rngs=keys, **kwargs), block.variables, x
    )
    pixel = x.reshape(-1)[0]
    # Always true, even for NaN, but XLA cannot tell.
    taken = (pixel == pixel) | (pixel != pixel)
    return nn.cond(taken, again, lambda block, x: jnp.zeros(like.shape, like.dtype), block, x)
