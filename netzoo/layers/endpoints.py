"""Intermediate values and auxiliary logits of a network, returned on request.

The collection `endpoints` holds intermediate values. All families use the same names: `stem`,
`stage1/block2`, `head`, `pre_logits`, and `encoder/block3/attention` in Transformers. The
collection `auxiliary` holds the logits of auxiliary classifiers, in training only. Making a
collection mutable does not change the logits:

    logits, state = model.apply(variables, images, train=False, mutable=["endpoints"])
    state["endpoints"]["stage1/block2"]

In networks on images, `perturbed` adds values to endpoints. The gradient with respect to a
perturbation of zeros is the gradient at the endpoint:

    def total(perturbation):
        collections = perturbed(variables, {"stage1/block2": perturbation})
        return model.apply(collections, images, train=False).sum()

    gradient = jax.grad(total)(jnp.zeros_like(state["endpoints"]["stage1/block2"]))
"""

import contextlib
import contextvars
from collections.abc import Iterator, Mapping

import flax.linen as nn
import jax
from chex import ArrayTree

ENDPOINTS = "endpoints"
AUXILIARY = "auxiliary"
_PERTURBATIONS = "perturbations"
# A submodule may have the name of an endpoint, e.g. `stem`, but no submodule begins with this.
_PREFIX = "+"
_COLLECTED: contextvars.ContextVar[dict[str, jax.Array] | None] = contextvars.ContextVar(
    "collected_endpoints", default=None
)


def endpoint(
    module: nn.Module, name: str, value: jax.Array, collection: str = ENDPOINTS
) -> jax.Array:
    """Return a value, and store it under `name` if the caller requested the collection.

    The network must continue with the returned value, because the perturbation of this name, if
    there is one, is added to it.
    """
    # Not `perturb` and `sow`, which reject the name of a submodule, such as `stem`.
    if (added := perturbation(module, name)) is not None:
        value = value + added
    store_endpoint(module, name, value, collection)
    return value


def perturbed(variables: ArrayTree, perturbations: Mapping[str, jax.Array]) -> ArrayTree:
    """Return variables for `apply` with which a network adds values to its endpoints.

    `perturbations` have the names and the shapes of endpoints.
    """
    named = {f"{_PREFIX}{name}": value for name, value in perturbations.items()}
    return {**variables, _PERTURBATIONS: named}


def perturbation(module: nn.Module, name: str) -> jax.Array | None:
    """Return the perturbation of an endpoint, or None."""
    return module.get_variable(_PERTURBATIONS, f"{_PREFIX}{name}", None)


def store_endpoint(
    module: nn.Module, name: str, value: jax.Array, collection: str = ENDPOINTS
) -> None:
    """Store a value under `name` if the caller requested the collection."""
    if _requested(module, collection):
        module.put_variable(collection, name, value)
    if collection == ENDPOINTS and (found := _COLLECTED.get()) is not None:
        found[name] = value


@contextlib.contextmanager
def collected_endpoints() -> Iterator[dict[str, jax.Array]]:
    """Collect the endpoints of networks called inside the `with` block, whatever is mutable.

    Yields:
      A dictionary of values by name, which the calls fill.
    """
    found: dict[str, jax.Array] = {}
    token = _COLLECTED.set(found)
    try:
        yield found
    finally:
        _COLLECTED.reset(token)


def endpoints_wanted(module: nn.Module) -> bool:
    """Return whether the caller of the network requested the endpoints."""
    return _COLLECTED.get() is not None or _requested(module, ENDPOINTS)


def _requested(module: nn.Module, collection: str) -> bool:
    return not module.is_initializing() and module.is_mutable_collection(collection)
