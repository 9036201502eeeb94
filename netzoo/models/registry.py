"""The registry of networks by name."""

import fnmatch
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import flax.linen as nn

from netzoo.errors import UserError, unknown_name
from netzoo.models.aliases import ALIASES, nearest


class Entry(NamedTuple):
    """A registered network."""

    factory: Callable[..., nn.Module]  # factory(num_classes=..., **options) creates the module
    image_size: int  # image side of the published network, in pixels; 0 for networks on text


_ENTRIES: dict[str, Entry] = {}


def register(name: str, factory: Callable[..., nn.Module], *, image_size: int = 224) -> None:
    """Add a network to the registry under `name`; see `Entry`."""
    if name in _ENTRIES:
        raise ValueError(f"model {name!r} is already registered; choose another name")
    _ENTRIES[name] = Entry(factory, image_size)


def list_models(pattern: str = "*") -> list[str]:
    """Return the sorted names that match a shell pattern, e.g. `"mobilenet*"`."""
    return sorted(fnmatch.filter(_ENTRIES, pattern))


def model_entry(name: str) -> Entry:
    """Return the entry of a network, by netzoo's name or another project's (`ALIASES`).

    Raises:
      UserError: The name is unknown; the message names the nearest network.
    """
    own, options = own_name(name)
    if own not in _ENTRIES:
        if reason := nearest(name):
            raise UserError(f"unknown model {name!r}; {reason}")
        raise unknown_name("model", name, list_models())
    entry = _ENTRIES[own]
    if own == name:
        return entry
    image_size = ALIASES[name].image_size or entry.image_size
    return Entry(functools.partial(entry.factory, **options), image_size)


def own_name(name: str) -> tuple[str, dict[str, Any]]:
    """Return netzoo's name of a network, and the options that another project's name implies."""
    if name in _ENTRIES or name not in ALIASES:
        return name, {}
    return ALIASES[name].model, dict(ALIASES[name].options)


def create_model(name: str, num_classes: int = 1000, **options: Any) -> nn.Module:
    """Create a network by its name.

    Args:
      name: One of `list_models()`, or the network's name in timm, torchvision or transformers.
      num_classes: Length of the logits; 0 returns the pooled features instead.
      **options: Fields of the family's module, e.g. `width_multiplier=0.75`.

    Returns:
      A pure Linen module: `module.apply(variables, images, train=False)` maps images
      `[batch, height, width, 3]` to float32 logits `[batch, num_classes]`.

    Raises:
      UserError: The name or an option is unknown; the message suggests similar names.
    """
    check_options(name, options)
    return model_entry(name).factory(num_classes=num_classes, **options)


def check_options(name: str, options: Iterable[str]) -> None:
    """Raise a UserError if a network or one of its options is unknown."""
    factory = model_entry(name).factory
    known = [p for p in inspect.signature(factory).parameters if p not in ("parent", "name")]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
