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


def endpoint(module: nn.Module, name: str, value: jax.Array) -> jax.Array:
    """Stores an intermediate value under `name` if it is wanted; returns the value."""
    return _store(module, ENDPOINTS, name, value)


def auxiliary_logits(module: nn.Module, name: str, value: jax.Array) -> jax.Array:
    """Stores the logits of an auxiliary classifier under `name` if wanted; returns the logits."""
    return _store(module, AUXILIARY, name, value)


def endpoints_wanted(module: nn.Module, collection: str = ENDPOINTS) -> bool:
    """Returns whether the caller of the network asked for endpoints."""
    return not module.is_initializing() and module.is_mutable_collection(collection)


def _store(module: nn.Module, collection: str, name: str, value: jax.Array) -> jax.Array:
    # Not `sow`: it refuses a name that a submodule has too, as `stem` does.
    if endpoints_wanted(module, collection):
        module.put_variable(collection, name, value)
    return value
