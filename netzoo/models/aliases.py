"""The names of netzoo's networks in timm, torchvision and transformers.

`create_model`, `netzoo.load`, the key `model.name` and the commands accept these names. Names of
weights, such as `vit_base_patch16_224.mae`, are in `netzoo.weights.catalogue`.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Alias(NamedTuple):
    """A network that another project calls by another name."""

    model: str  # name in netzoo's registry
    options: Mapping[str, Any] = MappingProxyType({})  # options of `create_model`
    image_size: int | None = None  # side in pixels, if it is not the network's usual one


_OF_TIMM = MappingProxyType({"norm_epsilon": 1e-5})  # for BatchNorm; netzoo's default is 1e-3
_OF_TENSORFLOW = MappingProxyType({"padding": "same", "norm_epsilon": 1e-3})
_OF_TRANSFORMERS = MappingProxyType({"norm_epsilon": 1e-12})  # for LayerNorm

_TIMM_VITS = {
    "vit_tiny_patch16": "vit_ti16",
    "vit_small_patch16": "vit_s16",
    "vit_small_patch8": "vit_s8",
    "vit_small_patch32": "vit_s32",
    "vit_base_patch8": "vit_b8",
    "vit_base_patch16": "vit_b16",
    "vit_base_patch32": "vit_b32",
    "vit_large_patch16": "vit_l16",
    "vit_large_patch32": "vit_l32",
    "vit_huge_patch14": "vit_h14",
    "deit_tiny_patch16": "vit_ti16",
    "deit_small_patch16": "vit_s16",
    "deit_base_patch16": "vit_b16",
    "vit_tiny_r_s16_p8": "r_ti16",
    "vit_small_r26_s32": "r26_s32",
    "vit_base_r26_s32": "r26_b32",
    "vit_base_r50_s16": "r50_b16",
    "vit_large_r50_s32": "r50_l32",
}
# DeiT III (Touvron et al., arXiv:2204.07118).
_DEIT3 = MappingProxyType({"layer_scale": 1e-6, "patch_positions_only": True})
_DEIT3_VITS = {"small_patch16": "vit_s16", "base_patch16": "vit_b16", "large_patch16": "vit_l16"}
_QUICK = MappingProxyType({"quick_gelu": True})
# timm's networks of CLIP: timm's name of the size and the patch; netzoo's name; the sides of the
# images in timm; and these sides for the networks with quick GELU.
_CLIP_VITS = (
    ("base_patch32", "vit_b32_clip", (224, 256, 384, 448), (224,)),
    ("base_patch16", "vit_b16_clip", (224, 384), (224,)),
    ("large_patch14", "vit_l14_clip", (224, 336), (224, 336)),
    ("huge_patch14", "vit_h14_clip", (224, 336, 378), (224, 378)),
)
_TRANSFORMERS_VITS = {
    "vit-base-patch16": "vit_b16",
    "vit-base-patch32": "vit_b32",
    "vit-large-patch16": "vit_l16",
    "vit-large-patch32": "vit_l32",
    "vit-huge-patch14": "vit_h14",
    "deit-tiny-patch16": "vit_ti16",
    "deit-small-patch16": "vit_s16",
    "deit-base-patch16": "vit_b16",
}
ALIASES: Mapping[str, Alias] = {
    # timm
    **{f"{theirs}_224": Alias(ours) for theirs, ours in _TIMM_VITS.items()},
    **{f"{theirs}_384": Alias(ours, image_size=384) for theirs, ours in _TIMM_VITS.items()},
    **{
        f"deit3_{theirs}_{side}": Alias(ours, _DEIT3, None if side == 224 else side)
        for theirs, ours in _DEIT3_VITS.items()
        for side in (224, 384)
    },
    "deit3_huge_patch14_224": Alias("vit_h14", _DEIT3),
    **{
        f"vit_{theirs}_clip_{side}": Alias(ours, image_size=None if side == 224 else side)
        for theirs, ours, sides, _ in _CLIP_VITS
        for side in sides
    },
    **{
        f"vit_{theirs}_clip_quickgelu_{side}": Alias(ours, _QUICK, None if side == 224 else side)
        for theirs, ours, _, sides in _CLIP_VITS
        for side in sides
    },
    **{
        f"vit_{size}_patch14_{kind}": Alias(f"vit_{size[0]}14_{kind}")
        for size in ("small", "base", "large")
        for kind in ("dinov2", "reg4_dinov2")
    },
    "mobilenetv1_100": Alias("mobilenet_v1", _OF_TIMM),
    **{
        f"mobilenetv1_{n}": Alias(f"mobilenet_v1_{n}", _OF_TIMM)
        for n in ("025", "050", "075", "100h", "125")  # timm's own narrowest is 100
    },
    "mobilenetv2_100": Alias("mobilenet_v2"),
    **{
        f"mobilenetv2_{n}": Alias(f"mobilenet_v2_{n}")
        for n in ("035", "050", "075", "110d", "120d", "140")
    },
    "mobilenetv3_large_100": Alias("mobilenet_v3_large", _OF_TIMM),
    "mobilenetv3_small_100": Alias("mobilenet_v3_small", _OF_TIMM),
    **{
        f"mobilenetv3_{n}": Alias(f"mobilenet_v3_{n}", _OF_TIMM)
        for n in ("large_075", "large_150d", "small_050", "small_075")
    },
    "tf_mobilenetv3_large_075": Alias("mobilenet_v3_large_075", _OF_TENSORFLOW),
    "tf_mobilenetv3_large_100": Alias("mobilenet_v3_large", _OF_TENSORFLOW),
    "tf_mobilenetv3_large_minimal_100": Alias("mobilenet_v3_large_minimalistic", _OF_TENSORFLOW),
    "tf_mobilenetv3_small_075": Alias("mobilenet_v3_small_075", _OF_TENSORFLOW),
    "tf_mobilenetv3_small_100": Alias("mobilenet_v3_small", _OF_TENSORFLOW),
    "tf_mobilenetv3_small_minimal_100": Alias("mobilenet_v3_small_minimalistic", _OF_TENSORFLOW),
    # torchvision; the other names are netzoo's, but its AlexNet and GoogLeNet are
    # netzoo's alexnet_owt and googlenet_tv
    **{f"vit_{n[0]}_{n[1:]}": Alias(f"vit_{n}") for n in ("b16", "b32", "l16", "l32", "h14")},
    # transformers
    **{f"{n}-224": Alias(o, _OF_TRANSFORMERS) for n, o in _TRANSFORMERS_VITS.items()},
    **{f"{n}-224-in21k": Alias(o, _OF_TRANSFORMERS) for n, o in _TRANSFORMERS_VITS.items()},
    **{f"{n}-384": Alias(o, _OF_TRANSFORMERS, 384) for n, o in _TRANSFORMERS_VITS.items()},
    **{f"resnet-{n}": Alias(f"resnet{n}") for n in (18, 34, 50, 101, 152)},
    "mobilenet_v1_1.0_224": Alias("mobilenet_v1", _OF_TENSORFLOW),
    "mobilenet_v1_0.75_192": Alias("mobilenet_v1_075", _OF_TENSORFLOW, 192),
    "mobilenet_v2_0.35_96": Alias("mobilenet_v2_035", _OF_TENSORFLOW, 96),
    "mobilenet_v2_0.75_160": Alias("mobilenet_v2_075", _OF_TENSORFLOW, 160),
    "mobilenet_v2_1.0_224": Alias("mobilenet_v2", _OF_TENSORFLOW),
    "mobilenet_v2_1.4_224": Alias("mobilenet_v2_140", _OF_TENSORFLOW),
}

# The inverse for exports: timm's names of netzoo's networks; all of them exist in timm 1.0.31.
TIMM_NAMES = {
    **{name: name for n in (11, 13, 16, 19) for name in (f"vgg{n}", f"vgg{n}_bn")},
    **{f"resnet{n}": f"resnet{n}" for n in (18, 34, 50, 101, 152)},
    **{n: n for n in ("resnext50_32x4d", "resnext101_32x8d")},
    **{n: n for n in ("wide_resnet50_2", "wide_resnet101_2")},
    "mobilenet_v1": "mobilenetv1_100",
    **{f"mobilenet_v1_{n}": f"mobilenetv1_{n}" for n in ("100h", "125")},
    "mobilenet_v2": "mobilenetv2_100",
    **{
        f"mobilenet_v2_{n}": f"mobilenetv2_{n}"
        for n in ("035", "050", "075", "110d", "120d", "140")
    },
    **{f"mobilenet_v3_{n}": f"mobilenetv3_{n}_100" for n in ("small", "large")},
    **{f"mobilenet_v3_{n}_075": f"mobilenetv3_{n}_075" for n in ("small", "large")},
    "mobilenet_v3_small_050": "mobilenetv3_small_050",
    "mobilenet_v3_large_150d": "mobilenetv3_large_150d",
    "vit_ti16": "vit_tiny_patch16_224",
    **{f"vit_s{n}": f"vit_small_patch{n}_224" for n in (16, 32)},
    **{f"vit_b{n}": f"vit_base_patch{n}_224" for n in (8, 16, 32)},
    **{f"vit_l{n}": f"vit_large_patch{n}_224" for n in (16, 32)},
    "vit_s8": "vit_small_patch8_224",
    **{f"vit_b{n}_clip": f"vit_base_patch{n}_clip_224" for n in (16, 32)},
    "vit_l14_clip": "vit_large_patch14_clip_224",
    "vit_h14_clip": "vit_huge_patch14_clip_224",
    **{
        f"vit_{size[0]}14_{kind}": f"vit_{size}_patch14_{kind}"
        for size in ("small", "base", "large")
        for kind in ("dinov2", "reg4_dinov2")
    },
    "r_ti16": "vit_tiny_r_s16_p8_224",
    "r26_s32": "vit_small_r26_s32_224",
    "r50_l32": "vit_large_r50_s32_224",
}

# Networks of other projects that are nearly one of netzoo's: a regular expression of their names,
# netzoo's nearest network, and what it lacks.
_NEARLY = (
    (r"vit_(\w+)_clip_\w+", "vit_b16_clip", "this width or depth"),
    (r"vit_giant_\w+_dinov2", "vit_l14_dinov2", "SwiGLU and this width"),
    (r"(vit|deit)_\w+_reg\d_\w+", "vit_b14_reg4_dinov2", "this width or pooling"),
    (r"vit_\w+_(siglip|so400m)\w*", "vit_b16", "attention pooling in place of the class token"),
    (r"vit_(relpos|srelpos)_\w+", "vit_b16", "relative positions"),
    (r"deit3_\w+", "vit_b16", "this width"),
    (r"deit_\w+_distilled_\w+|deit-\w+-distilled-\w+", "vit_b16", "a distillation token"),
    (r"(beit|beitv2|eva|eva02|cait|xcit|swin|swinv2)_\w+", "vit_b16", "that family's attention"),
    (r"vit_(giant|gigantic|so\d+\w*|medium|little|mediumd|wee|pwee|betwixt)_\w+", "vit_b16",
     "this width"),
    (r"(se|eca|sk|gc|cbam)resne[x]?t\w+", "resnet50", "attention over channels"),
    (r"resnet(v2_|rs|st)\w+|resnest\w+", "resnet50", "that family's blocks"),
    (r"resnet(aa|blur)\w+", "resnet50", "anti-aliased downsampling"),
    (r"res(net|next)\d+[dts](_\w+)?", "resnet50", "the deep stem, and pooling in the shortcuts"),
    (r"resnext\d+_\w+", "resnext101_32x8d", "this number and width of groups"),
    (r"resnet\d+\w*", "resnet50", "this depth"),
    (r"(tf_)?mobilenetv3_rw", "mobilenet_v3_large", "a hidden layer without bias"),
    (r"mobilenetv4\w+|mobilenet_?v4\w*", "mobilenet_v3_large", "universal inverted bottlenecks"),
    (r"(tf_)?(efficientnet|mixnet|mnasnet|fbnet\w*|lcnet|hardcorenas)\w+", "mobilenet_v2",
     "that family's stages"),
    (r"(mobile|ghost)net_?v\d\w*", "mobilenet_v2", "this width or depth"),
    (r"(convnext|regnet\w|densenet|inception|dpn|nfnet)\w*", "resnet50", "that family's blocks"),
)  # fmt: skip


def nearest(name: str) -> str | None:
    """Return a sentence about the network that is nearest to another project's; None if unknown."""
    for pattern, model, lacking in _NEARLY:
        if re.fullmatch(pattern, name):
            return f"the nearest network is {model}, which lacks {lacking}"
    return None
