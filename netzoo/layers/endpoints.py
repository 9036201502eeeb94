"""Intermediate values and auxiliary logits of a network, returned on request.

The collection `endpoints` holds intermediate values. All families use the same names: `stem`,
`stage1/block2`, `head`, `pre_logits`, and `encoder/block3/attention` in Transformers. The
collection `auxiliary` holds the logits of auxiliary classifiers, in training only. Making a
collection mutable does not change the logits:

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
    """Store a value under `name` if the caller requested the collection, and return the value."""
    # Not `sow`, which rejects the name of a submodule, such as `stem`.
    if endpoints_wanted(module, collection):
        module.put_variable(collection, name, value)
    return value


def endpoints_wanted(module: nn.Module, collection: str = ENDPOINTS) -> bool:
    """Return whether the caller of the network requested a collection."""
    return not module.is_initializing() and module.is_mutable_collection(collection)
