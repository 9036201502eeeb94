"""Variables in Keras' HDF5 files, by the names of their layers.

    Keras 2, `.h5`          [model_weights/]LAYER/.../VARIABLE:0
    Keras 3, `.h5`          model_weights/LAYER/.../VARIABLE
    Keras 3, `.weights.h5`  layers/CLASS_N/vars/0, 1, ...; the attribute `name` of `vars` is LAYER

Either gives `LAYER/VARIABLE`, e.g. `conv_dw_1/depthwise_kernel`. The last format numbers the
variables of a layer in the order in which the layer makes them, so that they are named here by its
class (keras/src/saving/saving_lib.py; checked with files of Keras 3.15).
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from netzoo.errors import UserError
from netzoo.weights.formats.hdf5_probe import probe
from netzoo.weights.formats.limits import check_unpacked, most_bytes

MOMENTS = ("gamma", "beta", "moving_mean", "moving_variance")
VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("depthwise_kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": MOMENTS,
}
# What Keras 2.13 to 2.15 call `layers`, without names.
LAYERS_OF_KERAS_2 = "_layer_checkpoint_dependencies"
# Not a layer: variables that a model holds itself, of which these networks have none.
TOP_LEVEL = "top_level_model_weights"


def read_keras_file(path: Path) -> dict[str, np.ndarray]:
    """Reads the variables of a Keras model.

    Args:
      path: Written by `model.save_weights` or `model.save`.

    Returns:
      Arrays by `LAYER/VARIABLE`.

    Raises:
      UserError: The file is damaged, is not Keras', or does not say which layer is which.
    """
    if trouble := probe(path, most_bytes(path)):
        raise UserError(f"{path} is damaged: {trouble}. Fetch it anew")
    try:
        with h5py.File(path, "r") as file:
            if "layers" in file or LAYERS_OF_KERAS_2 in file:
                found = dict(_numbered(file, path))
            else:
                weights = dict(_items(file)).get("model_weights", file)
                if not any(name.startswith("layer_names") for name in weights.attrs):
                    raise UserError(
                        f"{path} is no file of Keras: expected `layers`, or an attribute "
                        f"`layer_names`; found {', '.join([*file, *file.attrs])[:200] or 'nothing'}"
                    )
                found = dict(_named(weights, _depthwise_layers(file)))
            check_unpacked(path, sum(map(_bytes_to_read, found.values())))
            return {name: dataset[()] for name, dataset in found.items()}
    except UserError:
        raise
    except Exception as error:  # h5py raises half a dozen types for damage
        raise UserError(f"{path} is damaged or truncated: {error}") from None


def _items(group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yields what a group holds itself; Keras writes no links, which may lead to other files."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link to somewhere else")
        yield name, group[name]


def _bytes_to_read(dataset: h5py.Dataset) -> int:
    """Returns how much memory a dataset takes; raises ValueError if it is not one of numbers."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{dataset.name} lies in another file")
    if dataset.dtype.kind not in "fiub":  # others are as long as they like
        raise ValueError(f"{dataset.name} holds {dataset.dtype}, expected numbers")
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    return max(dataset.nbytes, chunk)


def _named(weights: h5py.Group, depthwise: set[str]) -> Iterator[tuple[str, h5py.Dataset]]:
    seen: set[int] = set()
    for layer, group in _items(weights):
        if layer == TOP_LEVEL:
            continue
        for variable, dataset in _datasets(group, seen):
            # Keras 3 calls it `kernel` like every other one.
            if variable == "kernel" and layer in depthwise:
                variable = "depthwise_kernel"
            yield f"{layer}/{variable}", dataset


def _datasets(group: h5py.Group, seen: set[int]) -> Iterator[tuple[str, h5py.Dataset]]:
    address = h5py.h5o.get_info(group.id).addr
    if address in seen:
        raise ValueError(f"{group.name} is in two places")
    seen.add(address)
    for name, item in _items(group):
        if isinstance(item, h5py.Dataset):
            yield name.split(":")[0], item
        else:
            yield from _datasets(item, seen)


def _depthwise_layers(file: h5py.File) -> set[str]:
    """Returns the names of depthwise layers where the file describes its model."""
    config = json.loads(file.attrs.get("model_config", "{}"))
    layers = config.get("config", {}).get("layers", [])
    return {layer["config"]["name"] for layer in layers if layer["class_name"] == "DepthwiseConv2D"}


def _numbered(file: h5py.File, path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    layers = dict(_items(file)).get("layers")
    for group_name, group in _items(layers) if layers else ():
        group = dict(_items(group)).get("vars")
        if not group:
            continue
        variables = dict(_items(group))
        names = VARIABLES.get(re.sub(r"_\d+$", "", group_name), ())
        layer, count = group.attrs.get("name"), len(variables)
        # A layer without a bias lacks its last one; of the moments any could be lacking.
        complete = count == len(names) or (count == 1 and len(names) == 2)
        if layer is None or not complete:
            raise UserError(_unclear(path, group_name, count))
        for index, name in enumerate(names[:count]):
            yield f"{layer}/{name}", variables[str(index)]
    if layers is None:
        raise UserError(_unclear(path, LAYERS_OF_KERAS_2, 0))


def _unclear(path: Path, group: str, count: int) -> str:
    return (
        f"{path} does not say which variable is which: {group} holds {count}, and no layer's name "
        f"or not what one of {', '.join(VARIABLES)} holds. Files from before Keras 3.6 lack the "
        "names; save with model.save('NAME.h5')"
    )
