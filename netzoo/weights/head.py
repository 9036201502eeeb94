"""A head for another number of classes than the file's: initialised anew, and said so."""

from collections.abc import Mapping
from typing import NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError
from netzoo.models.summary import example_inputs
from netzoo.weights.state_dict import Layout

Path = tuple[str, ...]


class Network(NamedTuple):
    """What weights are read for.

    Attributes:
      name: In the registry.
      module: The network.
      image_size: Side of its images in pixels; 0 for networks on text.
      shapes: Of its variables.
    """

    name: str
    module: nn.Module
    image_size: int
    shapes: ArrayTree


def complete(
    variables: ArrayTree,
    network: Network,
    tensors: Mapping[str, np.ndarray],
    layout: Layout,
    what: str,
    seed: int,
) -> ArrayTree:
    """Initialises the modules of the head that the conversion left out.

    Args:
      variables: Of `netzoo.weights.state_dict.to_ours`.
      network: What they are for.
      tensors: Of the file.
      layout: Of its names.
      what: The file, named in messages.
      seed: Of the initialisers.

    Returns:
      All variables of the network.

    Raises:
      UserError: The head has the number of classes asked for, and yet another shape.
    """
    converted = flax.traverse_util.flatten_dict(variables)
    wanted = flax.traverse_util.flatten_dict(network.shapes)
    lacking = [path for path in wanted if path not in converted]
    if not lacking:
        return variables
    modules = list(dict.fromkeys(path[1] for path in lacking))
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
    converted.update(_initialised(network, lacking, seed))
    return flax.traverse_util.unflatten_dict(converted)


def _number_of_classes(tensors: Mapping[str, np.ndarray], layout: Layout) -> int | None:
    for entry in layout.entries:
        module, leaf = entry.target[-2:]
        of_head = entry.target[1] in layout.head and entry.source in tensors
        # A network on text may use its embedding as the head: one row a word.
        if of_head and ((module, leaf) == ("logits", "bias") or leaf == "embedding"):
            return len(tensors[entry.source])
    return None


def _initialised(network: Network, paths: list[Path], seed: int) -> dict[Path, np.ndarray]:
    """Runs the initialisers of these variables; XLA drops those of all others."""

    @jax.jit
    def init(key):
        inputs = [jnp.zeros(x.shape, x.dtype) for x in example_inputs(network.image_size)]
        variables = network.module.init(key, *inputs, train=False)
        flat = flax.traverse_util.flatten_dict(variables)
        return [flat[path] for path in paths]

    values = init(jax.random.key(seed))
    return {path: np.asarray(x, np.float32) for path, x in zip(paths, values, strict=True)}
