"""Loads weights of other projects or of netzoo as the variables of a network."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError, did_you_mean
from netzoo.models.registry import create_model, model_entry
from netzoo.models.summary import example_inputs, variable_shapes
from netzoo.models.vit import resize_position_embedding
from netzoo.weights.download import download
from netzoo.weights.families import CATALOGUE, FAMILIES
from netzoo.weights.formats.read import model_name, read_weights
from netzoo.weights.state_dict import Entry, Layout, to_variables


def load_weights(
    name_or_path: str | Path,
    model: str | nn.Module | None = None,
    num_classes: int = 1000,
    *,
    image_size: int | None = None,
    seed: int = 0,
    **options: Any,
) -> ArrayTree:
    """Load weights for a network.

    The names of the tensors identify the project. A head for another number of classes is
    re-initialised, with a printed notice.

    Args:
      name_or_path: A name from `netzoo.weights.list_weights()`, downloaded once; a file
        (.safetensors, .pth, .pt, .bin, .npz, .h5); or the folder of a run, whose last checkpoint is
        read, with averaged weights if present.
      model: Name in the registry, which published weights and netzoo's own files do not need; or
        the network itself, for which `num_classes` and `options` are ignored.
      num_classes: Length of the logits; 0 omits the head.
      image_size: Side of the images in pixels, to which position embeddings are resized; 0 for
        networks on text. The default is the size of the published weights, or of the named network
        in the registry. Required with a file if `model` is a network.
      seed: Seed of a re-initialised head.
      **options: Options of `create_model`.

    Returns:
      The variables of `create_model(model, num_classes, **options)` as float32 NumPy arrays.

    Raises:
      UserError: The file or name does not exist, the file cannot be read, or its tensors do not fit
        the network; the message lists them.
    """
    published = None if Path(name_or_path).exists() else CATALOGUE.get(str(name_or_path))
    path = download(published) if published else Path(name_or_path).expanduser()
    tensors = _read(path)
    model = model or (published.model if published else model_name(path))
    if model is None:
        raise UserError(f"{path} does not store a model name: pass model=NAME")
    if image_size is None and published:
        image_size = published.preprocessing.crop_size
    elif image_size is None:
        if isinstance(model, nn.Module):
            raise UserError(f"{path} for {type(model).__name__}: expected image_size, got None")
        image_size = model_entry(model).image_size
    module = create_model(model, num_classes, **options) if isinstance(model, str) else model
    shapes = variable_shapes(module, image_size)
    layout = _recognised_layout(tensors, module, shapes)
    tensors = _with_resized_positions(tensors, layout, module, shapes)
    what = f"{path} for {model if isinstance(model, str) else type(model).__name__}"
    variables = flax.traverse_util.flatten_dict(to_variables(tensors, layout, shapes, what))
    absent = [path for path in flax.traverse_util.flatten_dict(shapes) if path not in variables]
    if absent:
        _announce_new_head(absent, tensors, layout, module.num_classes, what)
        variables |= _initial(absent, module, image_size, seed)
    return flax.traverse_util.unflatten_dict(variables)


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.is_dir():
        from netzoo.workdir.checkpoint import restore_variables

        _, _, variables = restore_variables(path)
        return flax.traverse_util.flatten_dict(variables, sep="/")
    if not path.is_file():
        hint = did_you_mean(str(path), CATALOGUE) or " See list_weights() for the names."
        raise UserError(f"{path} is not a file, a run or the name of published weights.{hint}")
    return read_weights(path)


def _recognised_layout(
    tensors: Mapping[str, np.ndarray], module: nn.Module, shapes: ArrayTree
) -> Layout:
    """Return the layout that shares most names with the tensors."""
    family = FAMILIES.get(type(module))
    layouts = [layout(module, shapes) for layout in family.layouts.values()] if family else []
    # netzoo's own files have names such as `params/stem/kernel` and netzoo's axes.
    own = [Entry(path, "/".join(path)) for path in flax.traverse_util.flatten_dict(shapes)]
    head = tuple({name: None for layout in layouts for name in layout.head}) or ("logits",)
    ignored = () if module.num_classes else tuple(rf"\w+/{name}/.*" for name in head)
    layouts.append(Layout(own, ignored, head))
    return max(layouts, key=lambda layout: sum(e.source in tensors for e in layout.entries))


def _with_resized_positions(
    tensors: dict[str, np.ndarray], layout: Layout, module: nn.Module, shapes: ArrayTree
) -> dict[str, np.ndarray]:
    """Resize the position embedding if it belongs to another image size."""
    for entry in layout.entries:
        if entry.target != ("params", "position_embedding") or entry.source not in tensors:
            continue
        old, new = np.asarray(tensors[entry.source]), shapes["params"]["position_embedding"]
        fits_otherwise = old.ndim == 3 and old.shape[::2] == new.shape[::2]
        if fits_otherwise and old.shape != new.shape:
            has_token = module.pool == "token"
            side = math.isqrt(new.shape[1] - has_token)
            resized = resize_position_embedding(old, (side, side), has_token)
            return {**tensors, entry.source: resized}
    return tensors


def _announce_new_head(
    absent: list[tuple[str, ...]],
    tensors: Mapping[str, np.ndarray],
    layout: Layout,
    num_classes: int,
    what: str,
) -> None:
    """Print which modules of the head the conversion omitted, and why.

    Raises:
      UserError: The head has the requested number of classes but another shape.
    """
    modules = {path[1]: None for path in absent}
    in_file = [entry for entry in layout.entries if entry.source in tensors]
    sizes = [
        len(tensors[entry.source])
        for entry in in_file
        if entry.target[1] in layout.head
        # A network on text may use its embedding, with one row per token, as the head.
        and (entry.target[-2:] == ("logits", "bias") or entry.target[-1] == "embedding")
    ]
    classes = sizes[0] if sizes else None
    if not any(entry.target[1] in modules for entry in in_file):
        print(f"{', '.join(modules)} initialised: not in {what}", flush=True)
    elif classes == num_classes:
        raise UserError(
            f"{what} does not fit the network: {', '.join(modules)} have another shape, although "
            f"both have {classes} classes"
        )
    else:
        print(
            f"head re-initialised: file has {classes} classes, asked for {num_classes}",
            flush=True,
        )


def _initial(
    paths: list[tuple[str, ...]], module: nn.Module, image_size: int, seed: int
) -> dict[tuple[str, ...], np.ndarray]:
    """Initialise the variables of a network at the given paths."""

    @jax.jit  # XLA drops the initialisers of all other variables
    def initial(key):
        inputs = [jnp.zeros(x.shape, x.dtype) for x in example_inputs(image_size)]
        flat = flax.traverse_util.flatten_dict(module.init(key, *inputs, train=False))
        return [flat[path] for path in paths]

    values = initial(jax.random.key(seed))
    return {path: np.asarray(x, np.float32) for path, x in zip(paths, values, strict=True)}
