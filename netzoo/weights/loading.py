"""Loads weights of other projects or of netzoo into a network."""

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
from chex import ArrayTree

from netzoo.errors import UserError, did_you_mean, note
from netzoo.models.registry import create_model, model_entry, own_name
from netzoo.models.summary import variable_shapes
from netzoo.weights.catalogue import CATALOGUE
from netzoo.weights.fit import classes_of, fit, select_classes
from netzoo.weights.origin import find_weights
from netzoo.weights.published import Preprocessing
from netzoo.weights.recognise import Weights, differing, recognise, taken


class LoadedModel(NamedTuple):
    """A network with its weights, the preprocessing of its images and its class names.

    `netzoo.Predictor(*loaded)` classifies images with it.
    """

    model: nn.Module
    variables: ArrayTree  # NumPy arrays, float32
    preprocessing: Preprocessing | None  # None if unknown
    class_names: tuple[str, ...] | None = None  # in the order of the logits; None if unknown


def load(
    name_or_path: str | Path,
    model: str | None = None,
    num_classes: int | None = None,
    *,
    classes: Sequence[str] | None = None,
    image_size: int | None = None,
    seed: int = 0,
    **options: Any,
) -> LoadedModel:
    """Create a network with weights, and with their options, preprocessing and class names.

    Published names, runs and netzoo's own files define their options and preprocessing. Other files
    have only tensor names; a notice on standard error lists the assumed values with reasons.

    Args:
      name_or_path: See `load_weights`.
      model: Name in the registry; see `load_weights`.
      num_classes: Length of the logits; by default that of the weights, 0 if they have no head.
      classes: Names of the classes to keep, in this order; the head loses all others. By default,
        all classes of the weights.
      image_size: See `load_weights`.
      seed: See `load_weights`.
      **options: Options of `create_model`, which override those of the weights.

    Raises:
      UserError: See `load_weights`; or the weights have no class of this name.
    """
    _check_arguments(num_classes, image_size, classes)
    weights = find_weights(name_or_path)
    name, options = _network(model, weights, options)
    weights = _of_network(weights, name)
    size = _image_size(image_size, weights, model or name)
    if not size and model_entry(name).image_size:
        raise UserError(f"image_size is 0, but {name} is a network on images")
    # These options determine the tensor names; the number of classes does not.
    module = create_model(name, **{**weights.options, **options})
    weights, _, layout, _ = recognise(weights, module, variable_shapes(module, size))
    if num_classes is None:
        num_classes = _num_classes(weights, classes_of(weights.tensors, layout))
    module = create_model(name, num_classes, **{**weights.options, **options})
    images = weights.preprocessing and weights.preprocessing.at(size)
    if weights.known_from not in CATALOGUE:
        values = differing(weights.options, create_model(name, **options))
        values |= {"mean": images.mean, "std": images.std} if images else {}
        if values:
            note(taken(weights, values))
    shapes = variable_shapes(module, size)
    found = recognise(weights, module, shapes)
    variables = fit(found, module, shapes, size, seed=seed, name=name)
    names = weights.class_names
    if names is not None and len(names) != module.num_classes:
        names = None  # these names belong to a head that the network lacks
    loaded = LoadedModel(module, variables, images, names)
    return loaded if classes is None else _with_classes(loaded, tuple(classes))


def _num_classes(weights: Weights, held: int | None) -> int:
    """Return the number of classes that the weights state, or else that of their head, `held`."""
    stated = weights.num_classes
    if stated and held and stated != held:
        raise UserError(
            f"{weights.known_from} says that {weights.path} has {stated:,} classes, but its head "
            f"has {held:,}; pass num_classes={held} to keep the head"
        )
    return (held or 0) if stated is None else stated


def _check_arguments(
    num_classes: int | None, image_size: int | None, classes: Sequence[str] | None
) -> None:
    """Raise a UserError for arguments of `load` that no network has."""
    for name, value in (("num_classes", num_classes), ("image_size", image_size)):
        if value is not None and (not isinstance(value, Integral) or value < 0):
            raise UserError(f"{name} is {value!r}; expected an integer of at least 0")
    if isinstance(classes, str):
        raise UserError(f"classes is {classes!r}; expected a list of names, such as [{classes!r}]")
    if classes is not None and num_classes is not None:
        raise UserError("give either num_classes or classes, which also says their number")


def _with_classes(loaded: LoadedModel, classes: tuple[str, ...]) -> LoadedModel:
    """Return a network whose head keeps only these classes, in this order."""
    known = loaded.class_names
    if known is None:
        raise UserError("the weights have no class names to choose from; omit classes=")
    if unknown := [name for name in classes if name not in known]:
        hint = (
            did_you_mean(unknown[0], known) or f" They have {len(known):,}: load(...).class_names."
        )
        raise UserError(f"the weights have no class {unknown[0]!r}.{hint}")
    if not classes or len(set(classes)) < len(classes):
        raise UserError(f"expected different names for classes=, got {classes}")
    variables = select_classes(loaded.variables, [known.index(name) for name in classes])
    model = loaded.model.clone(num_classes=len(classes))
    return LoadedModel(model, variables, loaded.preprocessing, classes)


def load_weights(
    name_or_path: str | Path,
    model: str | nn.Module | None = None,
    num_classes: int = 1000,
    *,
    image_size: int | None = None,
    seed: int = 0,
    new_head: bool = False,
    **options: Any,
) -> ArrayTree:
    """Load weights for a network.

    The names of the tensors identify the project. A head for another number of classes is
    re-initialised, with a notice on standard error. If the network's options differ from those of
    the weights, another notice lists them.

    Args:
      name_or_path: A name from `netzoo.weights.list_weights()`, downloaded once; a file
        (.safetensors, .pth, .pt, .bin, .npz, .h5); or the folder of a run, whose last checkpoint is
        read, with averaged weights if present.
      model: Name in the registry (optional for published weights, runs and netzoo's own files), or
        the network itself; then `num_classes` and `options` are ignored.
      num_classes: Length of the logits; 0 omits the head.
      image_size: Side of the images in pixels, to which position embeddings are resized; 0 for
        networks on text. The default is the size that belongs to the weights, or that of the named
        network in the registry. Required with a file if `model` is a network.
      seed: Seed of a re-initialised head.
      new_head: Whether to re-initialise the head for any number of classes.
      **options: Options of `create_model`.

    Returns:
      The variables of `create_model(model, num_classes, **options)` as float32 NumPy arrays.

    Raises:
      UserError: The file or name does not exist, the file cannot be read, or its tensors do not fit
        the network; the message lists them.
    """
    weights = find_weights(name_or_path)
    if isinstance(model, nn.Module):
        name, given, module = type(model).__name__, model, model
        if image_size is None and weights.preprocessing is None:
            raise UserError(
                f"{weights.path} does not store the image size of {name}; pass image_size=PIXELS"
            )
    else:
        name, options = _network(model, weights, options)
        weights, given = _of_network(weights, name), create_model(name, num_classes, **options)
        module = create_model(name, num_classes, **{**weights.options, **options})
    size = _image_size(image_size, weights, model if isinstance(model, str) else name)
    shapes = variable_shapes(module, size)
    found = recognise(weights, module, shapes)
    weights = found.weights
    if others := differing(weights.options, given):
        listed = ", ".join(f"{option}={value!r}" for option, value in others.items())
        note(
            f"{weights.path} needs {listed} ({weights.known_from}), but {name} has "
            f"{', '.join(repr(getattr(given, option)) for option in others)}. Use netzoo.load, "
            "which creates the network with the options of the weights"
        )
    return fit(found, module, shapes, size, seed=seed, new_head=new_head, name=name)


def _network(
    model: str | None, weights: Weights, options: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return netzoo's name of a network, and its options with those that the given name implies."""
    name = model or weights.model
    if name is None:
        raise UserError(f"{weights.path} does not store a model name: pass model=NAME")
    name, implied = own_name(name)
    return name, implied | options


def _of_network(weights: Weights, name: str) -> Weights:
    """Discard the description if the weights belong to another network; they may still fit."""
    if weights.model in (None, name):
        return weights
    return weights._replace(options={}, known_from="", preprocessing=None, num_classes=None)


def _image_size(image_size: int | None, weights: Weights, name: str) -> int:
    if image_size is not None:
        return image_size
    images = weights.preprocessing
    return images.crop_size if images else model_entry(name).image_size
