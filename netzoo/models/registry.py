"""Names of networks, and how to make them."""

import fnmatch
import inspect
from collections.abc import Callable

import flax.linen as nn

from netzoo.errors import unknown_name

_FACTORIES: dict[str, Callable[..., nn.Module]] = {}


def register(name: str, factory: Callable[..., nn.Module]) -> None:
    """Adds `factory(num_classes=..., **options)` to the registry under `name`."""
    if name in _FACTORIES:
        raise ValueError(f"model {name!r} is registered twice")
    _FACTORIES[name] = factory


def list_models(pattern: str = "*") -> list[str]:
    """Returns the sorted names that match a shell pattern, e.g. `"mobilenet*"`."""
    return sorted(fnmatch.filter(_FACTORIES, pattern))


def create_model(name: str, num_classes: int = 1000, **options) -> nn.Module:
    """Makes a network by its name.

    Args:
      name: One of `list_models()`.
      num_classes: Length of the logits; 0 for the pooled features instead.
      **options: Fields of the family's module, e.g. `width_multiplier=0.75`.

    Returns:
      A pure Linen module: `module.apply(variables, images, train=False)` maps images
      `[batch, height, width, 3]` to float32 logits `[batch, num_classes]`.

    Raises:
      UserError: The name or an option is unknown; the message gives the nearest valid ones.
    """
    if name not in _FACTORIES:
        raise unknown_name("model", name, list_models())
    factory = _FACTORIES[name]
    known = [p for p in inspect.signature(factory).parameters if p not in ("parent", "name")]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
    return factory(num_classes=num_classes, **options)
