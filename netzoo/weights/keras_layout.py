"""Layouts of the weights of Keras, whose tensors are named `<layer>/<variable>`."""

from collections.abc import Iterable, Mapping

import flax.traverse_util
from chex import ArrayTree

from netzoo.weights.state_dict import SAME, Entry, Layout, Transform

# Keras keeps a depthwise kernel as [height, width, channels, 1], netzoo as [h, w, 1, channels].
DEPTHWISE = Transform(lambda x: x.transpose(0, 1, 3, 2), lambda x: x.transpose(0, 1, 3, 2))
# A dense layer that Keras has as a 1x1 convolution [1, 1, in, out].
POINTWISE_DENSE = Transform(lambda x: x.reshape(x.shape[-2:]), lambda x: x[None, None])

VARIABLE_NAMES = {
    "kernel": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "mean": "moving_mean",
    "var": "moving_variance",
}


def keras_layout(
    shapes: ArrayTree, modules: Mapping[str, str], *, pointwise_dense: Iterable[str] = ()
) -> Layout:
    """Makes the layout of Keras weights from the names of the layers.

    Kernels of convolutions and dense layers have netzoo's axes. The kernel of a module that is
    called `depthwise` is the `depthwise_kernel` of a `DepthwiseConv2D`.

    Args:
      shapes: Our variables, or their shapes.
      modules: Our module path (`"stage1_block1/depthwise"`) to their layer (`"conv_dw_1"`).
      pointwise_dense: Our dense layers that are 1x1 convolutions in Keras.

    Raises:
      KeyError: One of our modules has no name: the layout is incomplete.
    """
    pointwise_dense = set(pointwise_dense)
    flat = flax.traverse_util.flatten_dict(shapes)
    normalized = {target[:-1] for target in flat if target[-1] == "scale"}
    entries = []
    for target in flat:
        module = "/".join(target[1:-1])
        variable, transform = VARIABLE_NAMES[target[-1]], SAME
        if target[-1] == "bias" and target[:-1] in normalized:
            variable = "beta"
        elif target[-1] == "kernel" and target[-2] == "depthwise":
            variable, transform = "depthwise_kernel", DEPTHWISE
        elif target[-1] == "kernel" and module in pointwise_dense:
            transform = POINTWISE_DENSE
        entries.append(Entry(target, f"{modules[module]}/{variable}", transform))
    return Layout(entries)
