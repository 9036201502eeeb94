"""Names of the hybrid networks' tensors in timm and Google's JAX code."""

from netzoo.models.hybrid_vit import HybridViT
from netzoo.weights.families import vit
from netzoo.weights.families.resnet import residual_layers
from netzoo.weights.published import (
    GOOGLE_IMAGES,
    Family,
    Project,
)
from netzoo.weights.state_dict import Layout, block_names


def timm(model: HybridViT, shapes) -> Layout:
    """Return the layout with names such as `patch_embed.backbone.stages.0.blocks.0.conv1`.

    A backbone without stages is only a stem, named `patch_embed.backbone`.
    """
    backbone = "patch_embed.backbone"
    layers = residual_layers("norm", ("downsample.conv", "downsample.norm"))
    template = backbone + ".stages.{stage0}.blocks.{block0}.{layer}"
    stem = f"{backbone}.stem" if model.stages else backbone
    names = block_names(model.stages, template, layers)
    return vit.timm(model, shapes, names | {"stem": (f"{stem}.conv", f"{stem}.norm")})


def google(model: HybridViT, shapes) -> Layout:
    """Return the layout with names such as `conv_root` and `block1/unit1/conv1`."""
    layers = residual_layers("gn", ("conv_proj", "gn_proj"))
    names = block_names(model.stages, "block{stage}/unit{block}/{layer}", layers)
    return vit.google(model, shapes, names | {"stem": ("conv_root", "gn_root")})


OF_TIMM = {
    "padding": "same",
    "group_norm_epsilon": 1e-5,
    "standardize_epsilon": 1e-8,
    "standardize_epsilon_place": "variance",
}
OF_GOOGLE = {
    "padding": "same",
    "norm_epsilon": 1e-6,
    "group_norm_epsilon": 1e-6,
    "standardize_epsilon": 1e-5,
    "standardize_epsilon_place": "deviation",
}
FAMILY = Family(
    HybridViT,
    {
        "timm": Project(timm, GOOGLE_IMAGES, vit.OF_PYTORCH | OF_TIMM),
        "google": Project(google, GOOGLE_IMAGES, {"gelu_approximate": True} | OF_GOOGLE),
    },
)
