"""Rematerialisation: blocks recompute their activations in the backward pass, to save memory.

The backward pass needs the activations inside every block. Rematerialisation keeps only the inputs
of the blocks and computes the activations again (Chen et al., arXiv:1604.06174):

    with rematerialized_blocks():
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
from netzoo.errors import UserError
from netzoo.layers import Conv

# Names of blocks in all families; the scanned blocks of Transformers share one name.
SCANNED = "blocks"
BLOCK = re.compile(rf"stage\d+_block\d+|{SCANNED}")
_ACTIVE = contextvars.ContextVar("rematerialized_blocks", default=False)


@contextlib.contextmanager
def rematerialized_blocks() -> Iterator[None]:
    """Rematerialise the blocks of networks called inside the `with` block.

    Results and statistics do not change; gradients change only by rounding.

    Raises:
      UserError: The networks called inside the block have only layers, no blocks (AlexNet, VGG).
    """
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

        if module.name == SCANNED:
            # No barrier is needed: the loop separates the forward pass from the recomputation.
            return nn.remat(call, prevent_cse=False)(module, *args)
        if kernels.backend() == "cpu":
            return _in_branch(module, call, *args, **kwargs)
        return nn.remat(call)(module, *args)

    token = _ACTIVE.set(True)
    try:
        with nn.intercept_methods(rematerialize):
            yield
    finally:
        _ACTIVE.reset(token)
    if not has_blocks:
        raise UserError(
            "the network has no blocks to rematerialise, only layers; set train.remat to False"
        )


def blocks_are_rematerialized() -> bool:
    """Return whether the caller runs inside `rematerialized_blocks`."""
    return _ACTIVE.get()


def _is_block(module: nn.Module) -> bool:
    # What AlexNet and VGG name a block is a single convolution, without activations to discard.
    path = module.path
    return bool(path and BLOCK.fullmatch(path[-1])) and not isinstance(module, Conv)


def _in_branch(
    block: nn.Module, call: Callable[..., jax.Array], x: jax.Array, **kwargs
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
    return nn.cond(
        taken, nn.remat(call), lambda block, x: jnp.zeros(like.shape, like.dtype), block, x
    )
