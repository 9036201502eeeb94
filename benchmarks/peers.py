"""The programs that are compared with netzoo, their requirements and their networks."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple


@dataclasses.dataclass(frozen=True, eq=False)
class Contestant:
    """One line of a row.

    Attributes:
      name: The name in tables.
      peer: The name in `--peers`; netzoo is compared with the fastest contestant of a peer.
      module: The Python module to run.
      needs: Modules that its interpreter must have.
      networks: Names of netzoo's networks that it has; None for all.
    """

    name: str
    peer: str
    module: str
    needs: tuple[str, ...]
    networks: Mapping[str, Any] | None = None

    def has(self, model: str, image_size: int) -> bool:
        """Return whether the contestant has a network for images of this size."""
        if self.networks is None:
            return True
        sizes = (None, image_size)
        return model in self.networks and getattr(self.networks[model], "image_size", None) in sizes


class TorchNetwork(NamedTuple):
    """A network of torchvision or timm.

    Attributes:
      library: `"torchvision"` or `"timm"`.
      name: Name of the constructor in the library.
      options: Options of the constructor.
      sized: Whether the constructor needs the image size.
    """

    library: str
    name: str
    options: Mapping[str, Any] = {}
    sized: bool = False


class KerasNetwork(NamedTuple):
    """A network of `keras.applications`.

    Attributes:
      name: Name of the constructor in the library.
      extra_parameters: Number of parameters that netzoo's network does not have.
      image_size: The only size in pixels for which the networks are equal; None for any.
    """

    name: str
    extra_parameters: int = 0
    image_size: int | None = None


_SAME_NAME = (
    *("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2"),
    *("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
)
_TIMM_SIZED = {
    "vit_ti16": "vit_tiny_patch16_224",
    "vit_s16": "vit_small_patch16_224",
    "vit_s32": "vit_small_patch32_224",
    "vit_b16": "vit_base_patch16_224",
    "vit_b32": "vit_base_patch32_224",
    "vit_l16": "vit_large_patch16_224",
    "r_ti16": "vit_tiny_r_s16_p8_224",
    "r26_s32": "vit_small_r26_s32_224",
    "r50_b16": "vit_base_r50_s16_224",
}
TORCH = {
    **{name: TorchNetwork("torchvision", name) for name in _SAME_NAME},
    **{name: TorchNetwork("timm", theirs, sized=True) for name, theirs in _TIMM_SIZED.items()},
    "alexnet_owt": TorchNetwork("torchvision", "alexnet"),
    # In evaluation, the auxiliary classifiers have parameters but take no time, as in netzoo.
    "googlenet_tv": TorchNetwork(
        "torchvision", "googlenet", {"aux_logits": True, "init_weights": False}
    ),
    "mobilenet_v1": TorchNetwork("timm", "mobilenetv1_100"),
}
# Dropout is off in netzoo's networks because it is off in timm's.
OPTIONS = {name: {"dropout_rate": 0.0} for name in (*_TIMM_SIZED, "mobilenet_v1")}
KERAS = {
    "mobilenet_v1": KerasNetwork("MobileNet"),
    "mobilenet_v2": KerasNetwork("MobileNetV2"),
    # Has biases before BatchNorm, and strides in the first 1x1: 6 % fewer multiply-adds.
    "resnet50": KerasNetwork("ResNet50", extra_parameters=26_560),
    # Its dense layers depend on the image size.
    "vgg16": KerasNetwork("VGG16", image_size=224),
}

NETZOO = Contestant("netzoo", "netzoo", "benchmarks.worker", ())
_TORCH = ("benchmarks.torch_worker", ("torch", "torchvision", "timm"), TORCH)
CONTESTANTS = (
    NETZOO,
    Contestant("flax", "flax", "benchmarks.worker", ()),
    Contestant("setup", "setup", "benchmarks.worker", ()),
    Contestant("plain", "plain", "benchmarks.worker", ()),
    Contestant("bfloat16", "bfloat16", "benchmarks.worker", ()),
    Contestant("other_jax", "other_jax", "benchmarks.worker", ("jax", "flax", "optax")),
    Contestant("torch", "torch", *_TORCH),
    Contestant("torch channels_last", "torch", *_TORCH),
    Contestant("keras", "keras", "benchmarks.keras_worker", ("keras", "jax"), KERAS),
)
PEERS = tuple(dict.fromkeys(c.peer for c in CONTESTANTS[1:]))
