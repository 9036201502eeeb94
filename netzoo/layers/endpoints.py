"""Intermediate values and auxiliary logits of a network, returned on request.

Named intermediate values are in the collection `endpoints`. All families have one scheme of names:
`stem`, `stage1/block2`, `head`, `pre_logits`; in Transformers `encoder/block3/attention`. The
logits of auxiliary classifiers are in `auxiliary` and exist in training. A request for either
changes neither the logits nor the type of what `apply` returns:

    logits, state = model.apply(variables, images, train=False, mutable=["endpoints"])
    state["endpoints"]["stage1/block2"]
"""

import flax.linen as nn
import jax

ENDPOINTS = "endpoints"
AUXILIARY = "auxiliary"


def endpoint(
    module: nn.Module, name: str, value: jax.Array, collection: str = ENDPOINTS
) -> jax.Array:
    """Stores a value of a network under `name` if the caller asked for it; returns the value."""
    # Not `sow`: it refuses a name that a submodule has too, as `stem` does.
    if endpoints_wanted(module, collection):
        module.put_variable(collection, name, value)
    return value


def endpoints_wanted(module: nn.Module, collection: str = ENDPOINTS) -> bool:
    """Returns whether the caller of the network asked for a collection."""
    return not module.is_initializing() and module.is_mutable_collection(collection)
