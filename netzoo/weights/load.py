"""Weights of other projects, or netzoo's own, as the variables of a network."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

import flax.linen as nn
import flax.traverse_util
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError
from netzoo.models.registry import create_model, model_entry
from netzoo.models.summary import variable_shapes
from netzoo.models.vit import resize_position_embedding
from netzoo.weights.catalogue import CATALOGUE, PublishedWeights
from netzoo.weights.download import download
from netzoo.weights.families import layouts
from netzoo.weights.formats.read import WeightFile, read_weights
from netzoo.weights.head import Network, complete
from netzoo.weights.state_dict import Entry, Layout, to_ours

MAX_SUGGESTIONS = 3


def load_weights(
    name_or_path: str | Path,
    model: str | None = None,
    num_classes: int = 1000,
    *,
    image_size: int | None = None,
    seed: int = 0,
    **options,
) -> ArrayTree:
    """Reads weights for a network.

    Whose names a file uses is recognised by its tensors. A head for another number of classes is
    left out and initialised anew, which is printed.

    Args:
      name_or_path: A name of `netzoo.weights.list_weights()`, which is downloaded once; a file
        (.safetensors, .pth, .pt, .bin, .npz, .h5); or the folder of a run, of which the last
        checkpoint is read, averaged weights where there are.
      model: Name in the registry; not needed for published weights and for netzoo's own files.
      num_classes: Length of the logits; 0 leaves the head out.
      image_size: Side of the images in pixels, which position embeddings are resized for; that of
        the published weights or else of the registry by default.
      seed: Of a head that is initialised.
      **options: Of `create_model`.

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
        raise UserError(f"{path} does not say of which network it is: give model=NAME")
    size = _image_size(image_size, model, published)
    network = _network(model, num_classes, size, options)
    headed = network if num_classes else _network(model, None, size, options)
    layout = _without_absent(_recognised(file.tensors, headed), network.shapes)
    tensors = _resized(file.tensors, layout, network)
    what = f"{path} for {model}"
    variables = to_ours(tensors, layout, network.shapes, what)
    return complete(variables, network, tensors, layout, what, seed)


def _own_layout(shapes: ArrayTree, head: tuple[str, ...] = ("logits",)) -> Layout:
    """Returns the layout of netzoo's own files: `params/stem/kernel`, nothing transformed."""
    paths = flax.traverse_util.flatten_dict(shapes)
    return Layout([Entry(path, "/".join(path)) for path in paths], head=head)


def _read(path: Path) -> WeightFile:
    if path.is_dir():
        from netzoo.workdir.checkpoint import restore_variables

        _, _, variables = restore_variables(path)
        flat = flax.traverse_util.flatten_dict(variables, sep="/")
        return WeightFile({name: np.asarray(value) for name, value in flat.items()}, {})
    if not path.is_file():
        near = difflib.get_close_matches(str(path), CATALOGUE, n=MAX_SUGGESTIONS, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "list_weights() has the names"
        raise UserError(f"{path} is no file, no run and no name of published weights; {hint}")
    return read_weights(path)


def _image_size(asked: int | None, model: str, published: PublishedWeights | None) -> int:
    registered = model_entry(model).image_size
    if asked is not None:
        return asked
    return published.preprocessing.crop_size if published else registered


def _network(model: str, num_classes: int | None, image_size: int, options: dict) -> Network:
    """Makes a network; `num_classes` None is the default of its own."""
    classes = {} if num_classes is None else {"num_classes": num_classes}
    module = create_model(model, **classes, **options)
    return Network(model, module, image_size, variable_shapes(module, image_size))


def _recognised(tensors: Mapping[str, np.ndarray], network: Network) -> Layout:
    """Returns the layout with most of its names among those of the tensors."""
    found = [layout(network.module, network.shapes) for layout in _layouts(network.module)]
    heads = dict.fromkeys(head for layout in found for head in layout.head)
    found.append(_own_layout(network.shapes, tuple(heads) or ("logits",)))
    return max(found, key=lambda layout: sum(e.source in tensors for e in layout.entries))


def _layouts(module: nn.Module) -> list:
    try:
        return list(layouts(module).values())
    except UserError:  # a family that nobody else has published
        return []


def _without_absent(layout: Layout, shapes: ArrayTree) -> Layout:
    """Ignores the tensors of modules that the network is made without, which are its head."""
    paths = flax.traverse_util.flatten_dict(shapes)
    kept = [entry for entry in layout.entries if entry.target in paths]
    dropped = {entry.source for entry in layout.entries} - {entry.source for entry in kept}
    return layout._replace(entries=kept, ignored=(*layout.ignored, *map(re.escape, dropped)))


def _resized(
    tensors: Mapping[str, np.ndarray], layout: Layout, network: Network
) -> Mapping[str, np.ndarray]:
    """Interpolates the position embedding of another image size."""
    for entry in layout.entries:
        if entry.target != ("params", "position_embedding") or entry.source not in tensors:
            continue
        found, wanted = tensors[entry.source], network.shapes["params"]["position_embedding"]
        if found.shape[-1:] != wanted.shape[-1:] or found.shape == wanted.shape:
            continue
        side = network.image_size // network.module.pixels_per_token()
        has_token = network.module.pool == "token"
        resized = resize_position_embedding(np.asarray(found), (side, side), has_token)
        tensors = {**tensors, entry.source: resized}
    return tensors
