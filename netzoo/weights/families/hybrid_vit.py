"""Names of the hybrids' tensors in timm and Google's JAX code."""

from netzoo.models.hybrid_vit import HybridViT
from netzoo.weights.families.vit import google_layout, timm_layout
from netzoo.weights.published import Family, google_weights
from netzoo.weights.state_dict import Layout


def timm(model: HybridViT, shapes) -> Layout:
    """`patch_embed.backbone.stages.0.blocks.0.conv1`, `patch_embed.proj`, `blocks.0.attn.qkv`.

    A ResNet without stages is not called one: its stem lies in `patch_embed.backbone` itself.
    """
    backbone = "patch_embed.backbone"
    stem = f"{backbone}.stem" if model.stages else backbone
    names = {"stem": f"{stem}.conv", "stem_norm": f"{stem}.norm", "embedding": "patch_embed.proj"}
    for stage, depth in enumerate(model.stages):
        for block in range(depth):
            ours = f"stage{stage + 1}_block{block + 1}"
            theirs = f"{backbone}.stages.{stage}.blocks.{block}"
            for index in (1, 2, 3):
                names[f"{ours}/conv{index}"] = f"{theirs}.conv{index}"
                names[f"{ours}/norm{index}"] = f"{theirs}.norm{index}"
            names[f"{ours}/shortcut"] = f"{theirs}.downsample.conv"
            names[f"{ours}/shortcut_norm"] = f"{theirs}.downsample.norm"
    return timm_layout(model, shapes, names)


def google(model: HybridViT, shapes) -> Layout:
    """`conv_root`, `block1/unit1/conv1`, `embedding`, `Transformer/encoderblock_0/...`."""
    names = {"stem": "conv_root", "stem_norm": "gn_root"}
    for stage, depth in enumerate(model.stages, start=1):
        for block in range(1, depth + 1):
            ours, theirs = f"stage{stage}_block{block}", f"block{stage}/unit{block}"
            for index in (1, 2, 3):
                names[f"{ours}/conv{index}"] = f"{theirs}/conv{index}"
                names[f"{ours}/norm{index}"] = f"{theirs}/gn{index}"
            names[f"{ours}/shortcut"] = f"{theirs}/conv_proj"
            names[f"{ours}/shortcut_norm"] = f"{theirs}/gn_proj"
    return google_layout(model, shapes, names)


# Columns: the arguments of `google_weights`.
GOOGLE = (
    ("r_ti16", "augreg_in21k_ft_in1k", "R_Ti_16", "none", 0.03, 0.0, 0.03),
    ("r_ti16", "augreg_in21k_ft_in1k_384", "R_Ti_16", "none", 0.03, 0.0, 0.03),
    ("r26_s32", "augreg_in21k_ft_in1k", "R26_S_32", "light0", 0.03, 0.1, 0.03),
    ("r26_s32", "augreg_in21k_ft_in1k_384", "R26_S_32", "medium2", 0.03, 0.0, 0.03),
    ("r50_l32", "augreg_in21k_ft_in1k", "R50_L_32", "medium1", 0.1, 0.1, 0.01),
    ("r50_l32", "augreg_in21k_ft_in1k_384", "R50_L_32", "medium2", 0.1, 0.0, 0.01),
    ("r_ti16", "augreg_in21k", "R_Ti_16", "none", 0.03, 0.0, None),
    ("r26_s32", "augreg_in21k", "R26_S_32", "medium2", 0.03, 0.0, None),
    ("r50_l32", "augreg_in21k", "R50_L_32", "medium2", 0.1, 0.0, None),
)
FAMILY = Family(
    HybridViT, {"timm": timm, "google": google}, [google_weights(*row) for row in GOOGLE]
)
