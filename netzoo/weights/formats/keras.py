"""Reads the variables of Keras' HDF5 files by the names of their layers.

    Keras 2, `.h5`          [model_weights/]LAYER/.../VARIABLE:0
    Keras 3, `.h5`          model_weights/LAYER/.../VARIABLE
    Keras 3, `.weights.h5`  layers/CLASS_N/vars/0, 1, ...; the attribute `name` of `vars` is LAYER

All formats give `LAYER/VARIABLE`, e.g. `conv_dw_1/depthwise_kernel`. The last format numbers a
layer's variables in the order of their creation, so the names follow from the layer's class
(keras/src/saving/saving_lib.py; checked with files of Keras 3.15).
"""

import collections
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from netzoo.errors import UserError
from netzoo.limits import check_unpacked, max_unpacked
from netzoo.weights.formats.hdf5 import holds_numbers, items_below, probe

VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("depthwise_kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
LAYERS_OF_KERAS_2 = "_layer_checkpoint_dependencies"  # unnamed `layers` of Keras 2.13 to 2.15
# Not a layer: it holds variables of the model itself, which these networks do not have.
TOP_LEVEL = "top_level_model_weights"

Items = dict[str, h5py.Group | h5py.Dataset]  # by their paths in the file


def read_keras_file(path: Path) -> dict[str, np.ndarray]:
    """Read the variables of a file written by `model.save_weights` or `model.save`.

    Returns:
      Arrays by `LAYER/VARIABLE`; see `read_weights`.
    """
    if trouble := probe(path, max_unpacked(path.stat().st_size)):
        raise ValueError(trouble)
    with h5py.File(path, "r") as file:
        items = dict(items_below(file))
        numbered = "layers" in file or LAYERS_OF_KERAS_2 in file
        datasets = dict(_by_number(items) if numbered else _by_name(file, items))
        check_unpacked(path.stat().st_size, sum(map(_bytes_to_read, datasets.values())))
        return {name: dataset[()] for name, dataset in datasets.items()}


def _bytes_to_read(dataset: h5py.Dataset) -> int:
    if not holds_numbers(dataset):
        raise ValueError(f"{dataset.name} holds {dataset.dtype} or is in another file")
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    return max(dataset.nbytes, chunk)


def _by_name(file: h5py.File, items: Items) -> Iterator[tuple[str, h5py.Dataset]]:
    root = "model_weights/" if "model_weights" in items else ""
    if not any(name.startswith("layer_names") for name in items.get(root[:-1], file).attrs):
        raise UserError(
            "it is not a Keras file: expected `layers`, or an attribute `layer_names`; got "
            f"{', '.join([*file, *file.attrs])[:200] or 'nothing'}"
        )
    # Keras 3 names a depthwise kernel `kernel` too; `model_config` gives the class of the layer.
    layers = json.loads(file.attrs.get("model_config", "{}")).get("config", {}).get("layers", [])
    classes = {layer["config"]["name"]: layer["class_name"] for layer in layers}
    for name, item in items.items():
        layer, _, variable = name.removeprefix(root).partition("/")
        if not name.startswith(root) or layer == TOP_LEVEL or not isinstance(item, h5py.Dataset):
            continue
        variable = variable.split("/")[-1].split(":")[0]
        if variable == "kernel" and classes.get(layer) == "DepthwiseConv2D":
            variable = "depthwise_kernel"
        yield f"{layer}/{variable}", item


def _by_number(items: Items) -> Iterator[tuple[str, h5py.Dataset]]:
    counts = collections.Counter(name.rpartition("/")[0] for name in items)
    if "layers" not in items:
        raise _unclear(LAYERS_OF_KERAS_2, 0)
    for group, count in counts.items():
        match = re.fullmatch(r"layers/(.+?)(_\d+)?/vars", group)
        if match is None:
            continue
        layer, names = items[group].attrs.get("name"), VARIABLES.get(match[1], ())
        # A layer without a bias lacks its last variable; a norm could lack any variable.
        complete = count == len(names) or (count == 1 and len(names) == 2)
        if layer is None or not complete:
            raise _unclear(group, count)
        for index, name in enumerate(names[:count]):
            yield f"{layer}/{name}", items[f"{group}/{index}"]


def _unclear(group: str, count: int) -> UserError:
    return UserError(
        f"its variables cannot be identified: {group} holds {count} of them; expected a layer name "
        f"and all variables of a layer ({', '.join(VARIABLES)}). Files before Keras 3.6 have no "
        "layer names; save with model.save('NAME.h5')"
    )
