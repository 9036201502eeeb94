"""What a network computes besides its logits, handed out on request.

Named intermediate values, `endpoints`, have one scheme of names in all families: `stem`,
`stage1/block2`, `head`, `pre_logits`; in Transformers `encoder/block3/attention`. The logits of
auxiliary classifiers, `auxiliary`, exist in training. Asking for either changes neither the logits
nor the type of what `apply` returns:

    logits, state = model.apply(variables, images, train=False, mutable=["endpoints"])
    state["endpoints"]["stage1/block2"]
"""

import flax.linen as nn
import jax

ENDPOINTS = "endpoints"
AUXILIARY = "auxiliary"


def endpoint(module: nn.Module, name: str, value: jax.Array) -> jax.Array:
    """Hands out an intermediate value under `name`; returns it."""
    return _hand_out(module, ENDPOINTS, name, value)


def auxiliary_logits(module: nn.Module, name: str, value: jax.Array) -> jax.Array:
    """Hands out the logits of an auxiliary classifier under `name`; returns them."""
    return _hand_out(module, AUXILIARY, name, value)


def endpoints_wanted(module: nn.Module, collection: str = ENDPOINTS) -> bool:
    """Returns whether the caller of the network asked for endpoints."""
    return not module.is_initializing() and module.is_mutable_collection(collection)


def _hand_out(module: nn.Module, collection: str, name: str, value: jax.Array) -> jax.Array:
    # Not `sow`: it refuses a name that a submodule has too, as `stem` does.
    if endpoints_wanted(module, collection):
        module.put_variable(collection, name, value)
    return value
