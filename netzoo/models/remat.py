"""Less memory in training: what blocks compute is forgotten and computed again.

The backward pass needs what every block computed on the way. With rematerialisation only the inputs
of the blocks are kept, and the rest is computed once more (Chen et al., arXiv:1604.06174):

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

# Names of blocks, alike in all families; those of Transformers are scanned and have one name.
SCANNED = "blocks"
BLOCK = re.compile(rf"stage\d+_block\d+|{SCANNED}")
_ACTIVE = contextvars.ContextVar("rematerialized_blocks", default=False)


@contextlib.contextmanager
def rematerialized_blocks() -> Iterator[None]:
    """Makes networks that are called within it compute their blocks again in the backward pass.

    Nothing else changes: neither results nor gradients, beyond rounding, nor statistics.

    Raises:
      UserError: The networks called within have no blocks, only layers (AlexNet, VGG).
    """
    has_blocks = False

    def rematerialize(next_call, args, kwargs, context):
        nonlocal has_blocks
        module = context.module
        if context.method_name != "__call__" or not _is_block(module):
            return next_call(*args, **kwargs)
        has_blocks = True
        if module.is_initializing():  # no gradient is taken of that
            return next_call(*args, **kwargs)

        def call(module, *args):
            return context.orig_method.func(module, *args, **kwargs)

        if module.name == SCANNED:
            # No barrier: the loop keeps the two computations apart.
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
            "the network has no blocks that could be computed again in the backward pass; set "
            "train.remat to False"
        )


def blocks_are_rematerialized() -> bool:
    """Returns whether the caller runs within `rematerialized_blocks`."""
    return _ACTIVE.get()


def _is_block(module: nn.Module) -> bool:
    # What AlexNet and VGG call a block is a convolution, which has nothing to forget.
    path = module.path
    return bool(path and BLOCK.fullmatch(path[-1])) and not isinstance(module, Conv)


def _in_branch(
    block: nn.Module, call: Callable[..., jax.Array], x: jax.Array, **kwargs
) -> jax.Array:
    """Runs a rematerialised block in a branch that is always taken.

    XLA's CPU backend drops the barrier that holds the second computation back until the gradient
    arrives, and keeps the results of all blocks after all. It does not take a branch apart.
    """
    alone = block.clone(parent=None)
    keys = {"dropout": jax.random.key(0)}
    like, _ = jax.eval_shape(
        lambda v, x: alone.apply(v, x, mutable=True, rngs=keys, **kwargs), block.variables, x
    )
    pixel = x.reshape(-1)[0]
    # Always true, even for NaN, but XLA does not know that.
    taken = (pixel == pixel) | (pixel != pixel)
    return nn.cond(
        taken, nn.remat(call), lambda block, x: jnp.zeros(like.shape, like.dtype), block, x
    )
