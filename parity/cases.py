"""The comparisons: networks of netzoo with their options, and the references they must equal."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from parity import generator

NUM_CLASSES = 10
BATCH_SIZE = 4
LABEL_SMOOTHING = 0.1  # of the loss of translations
# Tokens of every example of the batch.
SENTENCE_LENGTHS = {"source": (7, 4, 7, 1), "target": (5, 6, 2, 6)}


class Case(NamedTuple):
    """One comparison.

    Attributes:
      model: Name in netzoo's registry.
      library: `"torchvision"`, `"timm"`, `"transformers"` or `"torch"`.
      reference: Name of the reference's constructor in the library.
      image_size: Side of the images in pixels; 0 for networks on text.
      options: Options of netzoo's module.
      arguments: Arguments of the reference's constructor.
      edit: Name of the function of `parity.reference_edits` that edits the reference, or "".
      layout: Project whose tensor names the reference has.
      in_tests: Whether the slow tests also compare training mode. Its compilation takes 10 s or
        more, so cases that repeat the structure of another case are left out. `python -m
        parity.compare` compares all.
      tolerance: Largest relative error of the logits in evaluation mode, in float32.
    """

    model: str
    library: str
    reference: str
    image_size: int
    options: Mapping[str, Any] = MappingProxyType({})
    arguments: Mapping[str, Any] = MappingProxyType({})
    edit: str = ""
    layout: str = "torchvision"
    in_tests: bool = False
    tolerance: float = 1e-5

    def inputs(self) -> tuple[np.ndarray, ...]:
        """Return images `[batch, 3, size, size]`, or the tokens of sources and of targets."""
        if self.image_size:
            size = (BATCH_SIZE, 3, self.image_size, self.image_size)
            return (generator.normal("images", size).astype(np.float32),)
        return tuple(
            generator.tokens(n, SENTENCE_LENGTHS[n], NUM_CLASSES) for n in SENTENCE_LENGTHS
        )


TRANSFORMER_TINY = {
    "d_model": 128,
    "nhead": 4,
    "num_encoder_layers": 4,
    "num_decoder_layers": 4,
    "dim_feedforward": 256,
}
VIT_TI16 = {
    "patch_size": 16,
    "num_layers": 12,
    "num_heads": 3,
    "hidden_dim": 192,
    "mlp_dim": 768,
}
CLIP_TI16 = {"img_size": 64, "embed_dim": 192, "num_heads": 3}
TIMM_HYBRID = {
    "group_norm_epsilon": 1e-5,
    "standardize_epsilon": 1e-8,
    "standardize_epsilon_place": "variance",
}

CASES = {
    "alexnet_owt": Case("alexnet_owt", "torchvision", "alexnet", 128, in_tests=True),
    "googlenet_tv": Case(
        "googlenet_tv",
        "torchvision",
        "googlenet",
        112,
        {"auxiliary_dropout_rate": 0.0},
        {"aux_logits": True, "init_weights": False},
        in_tests=True,
    ),
    "googlenet_bn": Case(
        "googlenet_bn",
        "torchvision",
        "googlenet",
        112,
        {"auxiliary_dropout_rate": 0.0, "norm_epsilon": 1e-3},
        {"aux_logits": True, "init_weights": False},
        edit="true_5x5",
    ),
    "googlenet_tv_transform_input": Case(
        "googlenet_tv",
        "torchvision",
        "googlenet",
        64,
        {"auxiliary": False, "transform_input": True},
        {"aux_logits": False, "init_weights": False, "transform_input": True},
    ),
    "mobilenet_v1": Case(
        "mobilenet_v1",
        "timm",
        "mobilenetv1_100",
        64,
        {"norm_epsilon": 1e-5},
        layout="timm",
        in_tests=True,
    ),
    "mobilenet_v1_100h": Case(
        "mobilenet_v1_100h", "timm", "mobilenetv1_100h", 64, {"norm_epsilon": 1e-5}, layout="timm"
    ),
    "mobilenet_v2": Case("mobilenet_v2", "torchvision", "mobilenet_v2", 64, in_tests=True),
    "mobilenet_v2_timm": Case(
        "mobilenet_v2", "timm", "mobilenetv2_050", 64, {"width_multiplier": 0.5}, layout="timm"
    ),
    # PyTorch's own float32 logits are 1e-5 off its float64 logits.
    "mobilenet_v2_110d": Case(
        "mobilenet_v2_110d", "timm", "mobilenetv2_110d", 64, layout="timm", tolerance=3e-5
    ),
    "mobilenet_v3_large": Case(
        "mobilenet_v3_large", "torchvision", "mobilenet_v3_large", 64, in_tests=True
    ),
    "mobilenet_v3_small": Case("mobilenet_v3_small", "torchvision", "mobilenet_v3_small", 64),
    "mobilenet_v3_large_075": Case(
        "mobilenet_v3_large_075",
        "timm",
        "mobilenetv3_large_075",
        64,
        {"norm_epsilon": 1e-5},
        layout="timm",
    ),
    # With random weights, this depth magnifies rounding errors: PyTorch's own float32 logits are
    # 6e-3 off its float64 logits.
    "mobilenet_v3_large_150d": Case(
        "mobilenet_v3_large_150d",
        "timm",
        "mobilenetv3_large_150d",
        64,
        {"norm_epsilon": 1e-5},
        layout="timm",
        tolerance=2e-2,
    ),
    "mobilenet_v3_small_050": Case(
        "mobilenet_v3_small_050",
        "timm",
        "mobilenetv3_small_050",
        64,
        {"norm_epsilon": 1e-5},
        layout="timm",
    ),
    "mobilenet_v3_small_075": Case(
        "mobilenet_v3_small_075",
        "timm",
        "tf_mobilenetv3_small_075",
        64,
        {"padding": "same"},
        layout="timm",
    ),
    "mobilenet_v3_large_minimalistic": Case(
        "mobilenet_v3_large_minimalistic",
        "timm",
        "tf_mobilenetv3_large_minimal_100",
        64,
        {"padding": "same"},
        layout="timm",
    ),
    "mobilenet_v3_small_minimalistic": Case(
        "mobilenet_v3_small_minimalistic",
        "timm",
        "tf_mobilenetv3_small_minimal_100",
        64,
        {"padding": "same"},
        layout="timm",
    ),
    "resnet18": Case("resnet18", "torchvision", "resnet18", 64, in_tests=True),
    "resnet50": Case("resnet50", "torchvision", "resnet50", 64),
    "resnet50_v1": Case(
        "resnet50", "torchvision", "resnet50", 64, {"stride_in_first": True}, edit="stride_in_first"
    ),
    "resnet50_transformers": Case("resnet50", "transformers", "ResNet", 64, layout="transformers"),
    "mobilenet_v1_transformers": Case(
        "mobilenet_v1_075",
        "transformers",
        "MobileNetV1",
        64,
        {"padding": "same"},
        {"depth_multiplier": 0.75},
        layout="transformers",
    ),
    "mobilenet_v2_transformers": Case(
        "mobilenet_v2_050",
        "transformers",
        "MobileNetV2",
        64,
        {"padding": "same", "norm_epsilon": 1e-3},
        {"depth_multiplier": 0.5},
        layout="transformers",
    ),
    "resnext50_32x4d": Case("resnext50_32x4d", "torchvision", "resnext50_32x4d", 64),
    "wide_resnet50_2": Case("wide_resnet50_2", "torchvision", "wide_resnet50_2", 64),
    "transformer": Case(
        "transformer_tiny",
        "torch",
        "nn.Transformer",
        0,
        {"norm_epsilon": 1e-5},
        {**TRANSFORMER_TINY, "final_norm": False},
        layout="torch",
        in_tests=True,
    ),
    "transformer_pre_norm": Case(
        "transformer_tiny",
        "torch",
        "nn.Transformer",
        0,
        {"norm_epsilon": 1e-5, "norm_first": True},
        {**TRANSFORMER_TINY, "final_norm": True, "norm_first": True},
        layout="torch",
        in_tests=True,
    ),
    "transformer_final_norm": Case(
        "transformer_tiny",
        "torch",
        "nn.Transformer",
        0,
        {"norm_epsilon": 1e-5, "final_norm": True},
        {**TRANSFORMER_TINY, "final_norm": True},
        layout="torch",
    ),
    "vgg11": Case("vgg11", "torchvision", "vgg11", 64),
    "vgg11_bn": Case("vgg11_bn", "torchvision", "vgg11_bn", 64, in_tests=True),
    "vgg16_c": Case("vgg16_c", "torchvision", "vgg16", 64, edit="pointwise_third"),
    "vgg16_bn": Case("vgg16_bn", "torchvision", "vgg16_bn", 64),
    "vgg19_timm": Case("vgg19", "timm", "vgg19", 64, layout="timm"),
    "vit_ti16": Case(
        "vit_ti16",
        "torchvision",
        "vision_transformer.VisionTransformer",
        64,
        {"representation_size": 48},
        {**VIT_TI16, "image_size": 64, "representation_size": 48},
        in_tests=True,
    ),
    "vit_ti16_timm": Case(
        "vit_ti16", "timm", "vit_tiny_patch16_224", 64, {}, {"img_size": 64}, layout="timm"
    ),
    "vit_ti16_gap": Case(
        "vit_ti16",
        "timm",
        "vit_tiny_patch16_224",
        64,
        {"pool": "gap"},
        {"img_size": 64, "class_token": False, "global_pool": "avg", "fc_norm": False},
        layout="timm",
        in_tests=True,
    ),
    "deit_ti16": Case(
        "vit_ti16", "timm", "deit_tiny_patch16_224", 64, {}, {"img_size": 64}, layout="timm"
    ),
    "vit_ti16_patches": Case(
        "vit_ti16",
        "timm",
        "vit_tiny_patch16_224",
        64,
        {"pool": "patches", "norm_after_pool": True},
        {"img_size": 64, "global_pool": "avg"},
        layout="timm",
    ),
    "vit_ti16_gap_fc_norm": Case(
        "vit_ti16",
        "timm",
        "vit_tiny_patch16_224",
        64,
        {"pool": "gap", "norm_after_pool": True},
        {"img_size": 64, "class_token": False, "global_pool": "avg"},
        layout="timm",
    ),
    "vit_s8": Case(
        "vit_s8", "timm", "vit_small_patch8_224", 32, {}, {"img_size": 32}, layout="timm"
    ),
    "vit_ti16_clip": Case(
        "vit_ti16",
        "timm",
        "vit_base_patch16_clip_224",
        64,
        {"pre_norm": True, "norm_epsilon": 1e-5},
        CLIP_TI16,
        layout="timm",
    ),
    "vit_ti16_clip_quick_gelu": Case(
        "vit_ti16",
        "timm",
        "vit_base_patch16_clip_quickgelu_224",
        64,
        {"pre_norm": True, "norm_epsilon": 1e-5, "quick_gelu": True},
        CLIP_TI16,
        layout="timm",
    ),
    "vit_s14_dinov2": Case(
        "vit_s14_dinov2",
        "timm",
        "vit_small_patch14_dinov2",
        56,
        {},
        {"img_size": 56},
        layout="timm",
    ),
    "vit_s14_reg4_dinov2": Case(
        "vit_s14_reg4_dinov2",
        "timm",
        "vit_small_patch14_reg4_dinov2",
        56,
        {},
        {"img_size": 56},
        layout="timm",
    ),
    "vit_ti16_transformers": Case(
        "vit_ti16",
        "transformers",
        "ViT",
        64,
        {"norm_epsilon": 1e-12},
        {
            **{"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768},
            "image_size": 64,
        },
        layout="transformers",
    ),
    "r_ti16": Case(
        "r_ti16",
        "timm",
        "vit_tiny_r_s16_p8_224",
        64,
        TIMM_HYBRID,
        {"img_size": 64},
        layout="timm",
    ),
    # The deepest networks. Rounding errors grow with depth, also in PyTorch: its float32 logits are
    # 1e-5 (R26) and 3e-5 (R50) off its float64 logits.
    "r26_s32": Case(
        "r26_s32",
        "timm",
        "vit_small_r26_s32_224",
        64,
        TIMM_HYBRID,
        {"img_size": 64},
        layout="timm",
        in_tests=True,
        tolerance=1e-4,
    ),
    "r50_b16": Case(
        "r50_b16",
        "timm",
        "vit_base_r50_s16_224",
        64,
        TIMM_HYBRID,
        {"img_size": 64},
        layout="timm",
        tolerance=1e-4,
    ),
}
