"""Weights of other projects, or netzoo's own, as the variables of a network."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError
from netzoo.models.registry import create_model, model_entry
from netzoo.models.summary import example_inputs, variable_shapes
from netzoo.models.vit import resize_position_embedding
from netzoo.weights.download import download
from netzoo.weights.families import CATALOGUE, FAMILIES
from netzoo.weights.formats.read import WeightFile, read_weights
from netzoo.weights.state_dict import Entry, Layout, to_ours

MAX_SUGGESTIONS = 3


class _Network(NamedTuple):
    """The network that weights are read for, the side of its images, and its variables' shapes."""

    module: nn.Module
    image_size: int
    shapes: ArrayTree


def load_weights(
    name_or_path: str | Path,
    model: str | nn.Module | None = None,
    num_classes: int = 1000,
    *,
    image_size: int | None = None,
    seed: int = 0,
    **options,
) -> ArrayTree:
    """Reads weights for a network.

    The project whose names a file uses is recognised by its tensors. A head for another number of
    classes is left out and initialised anew, which is printed.

    Args:
      name_or_path: A name of `netzoo.weights.list_weights()`, which is downloaded once; a file
        (.safetensors, .pth, .pt, .bin, .npz, .h5); or the folder of a run, of which the last
        checkpoint is read, with averaged weights if it has them.
      model: Name in the registry; not needed for published weights and for netzoo's own files. Or
        the network itself, which has its number of classes and options.
      num_classes: Length of the logits; 0 leaves the head out.
      image_size: Side of the images in pixels, which position embeddings are resized for; by
        default that of the published weights, or else that of the registry for a name. A network
        and a file need it; 0 for networks on text.
      seed: Seed of a head that is initialised.
      **options: Options of `create_model`.

    Returns:
      NumPy arrays, float32: the variables that
      `create_model(model, num_classes, **options).apply` takes.

    Raises:
      UserError: There is no such file or name, the file is damaged or would run code, or its
        tensors do not fit the network; the message lists them.
    """
    published = None if Path(name_or_path).exists() else CATALOGUE.get(str(name_or_path))
    path = download(published) if published else Path(name_or_path).expanduser()
    file = _read(path)
    model = model or (published.model if published else file.metadata.get("model"))
    if model is None:
        raise UserError(f"{path} does not say which network it is for: give model=NAME")
    built = isinstance(model, nn.Module)
    if image_size is None and published:
        image_size = published.preprocessing.crop_size
    elif image_size is None and built:
        raise UserError(f"expected image_size for {type(model).__name__} and {path}, got None")
    elif image_size is None:
        image_size = model_entry(model).image_size
    module = model if built else create_model(model, num_classes, **options)
    network = _Network(module, image_size, variable_shapes(module, image_size))
    layout = _recognised_layout(file.tensors, network)
    tensors = _with_resized_positions(file.tensors, layout, network)
    what = f"{path} for {type(model).__name__ if built else model}"
    variables = to_ours(tensors, layout, network.shapes, what)
    return _with_new_head(variables, network, tensors, layout, what, seed)


def _read(path: Path) -> WeightFile:
    if path.is_dir():
        from netzoo.workdir.checkpoint import restore_variables

        _, _, variables = restore_variables(path)
        flat = flax.traverse_util.flatten_dict(variables, sep="/")
        return WeightFile({name: np.asarray(value) for name, value in flat.items()})
    if not path.is_file():
        near = difflib.get_close_matches(str(path), CATALOGUE, n=MAX_SUGGESTIONS, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "list_weights() has the names"
        raise UserError(f"{path} is not a file, a run or a name of published weights; {hint}")
    return read_weights(path)


def _recognised_layout(tensors: Mapping[str, np.ndarray], network: _Network) -> Layout:
    """Returns the layout with most of its names among those of the tensors."""
    family = FAMILIES.get(type(network.module))
    functions = family.layouts.values() if family else ()
    layouts = [layout(network.module, network.shapes) for layout in functions]
    heads = dict.fromkeys(module for layout in layouts for module in layout.head)
    layouts.append(_own_layout(network, tuple(heads) or ("logits",)))
    return max(layouts, key=lambda layout: sum(e.source in tensors for e in layout.entries))


def _own_layout(network: _Network, head: tuple[str, ...]) -> Layout:
    """Returns the layout of netzoo's own files: `params/stem/kernel`, nothing transformed."""
    paths = flax.traverse_util.flatten_dict(network.shapes)
    ignored = () if network.module.num_classes else tuple(rf"\w+/{module}/.*" for module in head)
    return Layout([Entry(path, "/".join(path)) for path in paths], ignored, head)


def _with_resized_positions(
    tensors: Mapping[str, np.ndarray], layout: Layout, network: _Network
) -> Mapping[str, np.ndarray]:
    """Interpolates the position embedding of another image size."""
    for entry in layout.entries:
        if entry.target != ("params", "position_embedding") or entry.source not in tensors:
            continue
        old, new = tensors[entry.source], network.shapes["params"]["position_embedding"]
        if old.shape[-1:] != new.shape[-1:] or old.shape == new.shape:
            continue
        side = network.image_size // network.module.pixels_per_token()
        has_token = network.module.pool == "token"
        resized = resize_position_embedding(np.asarray(old), (side, side), has_token)
        tensors = {**tensors, entry.source: resized}
    return tensors


def _with_new_head(
    variables: ArrayTree,
    network: _Network,
    tensors: Mapping[str, np.ndarray],
    layout: Layout,
    what: str,
    seed: int,
) -> ArrayTree:
    """Initialises the modules of the head that the conversion left out, and prints which.

    Raises:
      UserError: The head has the number of classes asked for, and yet another shape.
    """
    converted = flax.traverse_util.flatten_dict(variables)
    needed = flax.traverse_util.flatten_dict(network.shapes)
    absent = [path for path in needed if path not in converted]
    if not absent:
        return variables
    modules = list(dict.fromkeys(path[1] for path in absent))
    in_file = {entry.target[1] for entry in layout.entries if entry.source in tensors}
    classes, asked = _number_of_classes(tensors, layout), network.module.num_classes
    if not in_file.intersection(modules):
        print(f"{', '.join(modules)} initialised: not in {what}", flush=True)
    elif classes == asked:
        raise UserError(
            f"{what} does not fit the network: {', '.join(modules)} are of another shape, though "
            f"the file has {classes} classes too"
        )
    else:
        print(f"head re-initialised: file has {classes} classes, asked for {asked}", flush=True)

    @jax.jit  # XLA drops the initialisers of all other variables
    def initial(key):
        inputs = [jnp.zeros(x.shape, x.dtype) for x in example_inputs(network.image_size)]
        flat = flax.traverse_util.flatten_dict(network.module.init(key, *inputs, train=False))
        return [flat[path] for path in absent]

    for path, value in zip(absent, initial(jax.random.key(seed)), strict=True):
        converted[path] = np.asarray(value, np.float32)
    return flax.traverse_util.unflatten_dict(converted)


def _number_of_classes(tensors: Mapping[str, np.ndarray], layout: Layout) -> int | None:
    for entry in layout.entries:
        module, leaf = entry.target[-2:]
        of_head = entry.target[1] in layout.head and entry.source in tensors
        # A network on text may use its embedding as the head: one row a word.
        if of_head and ((module, leaf) == ("logits", "bias") or leaf == "embedding"):
            return len(tensors[entry.source])
    return None
