"""Names of the Vision Transformer's tensors in torchvision, timm and Google's JAX code."""

from collections.abc import Mapping, Sequence

from netzoo.models.vit import ViT
from netzoo.weights.published import (
    FINE_TUNED,
    FINE_TUNED_384,
    IN1K,
    IN1K_384,
    IN21K,
    Family,
    google_weights,
    torchvision_weights,
)
from netzoo.weights.state_dict import (
    SAME,
    Entry,
    Layout,
    Path,
    Transform,
    joint_projection,
    make_layout,
)

ATTENTION = "encoder/blocks/attention"
# Layers of a block: ours, torchvision's, timm's, Google's.
BLOCK_LAYERS = (
    ("attention_norm", "ln_1", "norm1", "LayerNorm_0"),
    ("attention/out", "self_attention.out_proj", "attn.proj", "MultiHeadDotProductAttention_1/out"),
    ("mlp_norm", "ln_2", "norm2", "LayerNorm_2"),
    ("mlp/expand", "mlp.0", "mlp.fc1", "MlpBlock_3/Dense_0"),
    ("mlp/project", "mlp.3", "mlp.fc2", "MlpBlock_3/Dense_1"),
)


def torchvision(model: ViT, shapes) -> Layout:
    """`conv_proj`, `encoder.layers.encoder_layer_0.mlp.0`, `heads.head`."""
    blocks = [f"encoder.layers.encoder_layer_{index}." for index in range(model.variant.depth)]
    names = {
        "embedding": "conv_proj",
        "encoder/norm": "encoder.ln",
        "pre_logits": "heads.pre_logits",
        "logits": "heads.head",
        **_in_blocks(blocks, 1),
    }
    extra = _tokens(model, "class_token", "encoder.pos_embedding")
    extra += joint_projection(ATTENTION, [f"{block}self_attention.in_proj_" for block in blocks])
    return make_layout(shapes, names, extra=extra)


def torchvision_0_12(model: ViT, shapes) -> Layout:
    """The published files: `mlp.linear_1` for `mlp.0`, which torchvision renames as it loads."""

    def renamed(name: str) -> str:
        return name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2")

    layout = torchvision(model, shapes)
    entries = [entry._replace(source=renamed(entry.source)) for entry in layout.entries]
    return layout._replace(entries=entries)


def timm(model: ViT, shapes, backbone: Mapping[str, str] | None = None) -> Layout:
    """`patch_embed.proj`, `blocks.0.attn.qkv`, `head`; `pre_logits.fc` is of old versions.

    `backbone` are the names of the modules before the embedding.
    """
    blocks = [f"blocks.{index}." for index in range(model.variant.depth)]
    names = {
        **(backbone or {}),
        "embedding": "patch_embed.proj",
        "encoder/norm": "norm",
        "pre_logits": "pre_logits.fc",
        "logits": "head",
        **_in_blocks(blocks, 2),
    }
    extra = _tokens(model, "cls_token", "pos_embed")
    extra += joint_projection(ATTENTION, [f"{block}attn.qkv." for block in blocks])
    return make_layout(shapes, names, extra=extra, ignored=_ignored(model))


def google(model: ViT, shapes, backbone: Mapping[str, str] | None = None) -> Layout:
    """`embedding`, `Transformer/encoderblock_0/MlpBlock_3/Dense_0`, `head`.

    Kernels are as ours. The projections of attention have the heads as an axis of their own, and
    GroupNorms of old files are `[1, 1, 1, channels]`. `backbone` is as in `timm`.
    """
    blocks = [f"Transformer/encoderblock_{index}/" for index in range(model.variant.depth)]
    names = {
        **(backbone or {}),
        "embedding": "embedding",
        "encoder/norm": "Transformer/encoder_norm",
        "pre_logits": "pre_logits",
        "logits": "head",
        **_in_blocks(blocks, 3),
    }
    for name in ("query", "key", "value"):
        names[f"{ATTENTION}/{name}"] = [f"{b}MultiHeadDotProductAttention_1/{name}" for b in blocks]
    split = (model.variant.heads, -1)

    def naming(target: Path, rank: int) -> tuple[str, Transform]:
        transform = SAME
        if target[-2:] == ("out", "kernel"):
            transform = Transform(
                lambda x: x.reshape(-1, x.shape[-1]), lambda x: x.reshape(*split, x.shape[-1])
            )
        elif target[-2] in ("query", "key", "value"):
            transform = Transform(
                lambda x: x.reshape(*x.shape[:-2], -1),
                lambda x: x.reshape(*x.shape[:-1], *split),
            )
        elif target[-1] in ("scale", "bias"):
            transform = Transform(lambda x: x.reshape(-1), lambda x: x)
        return f"/{target[-1]}", transform

    extra = _tokens(model, "cls", "Transformer/posembed_input/pos_embedding")
    return make_layout(shapes, names, naming, extra=extra, ignored=_ignored(model))


def _in_blocks(blocks: Sequence[str], column: int) -> dict[str, list[str]]:
    """Returns our paths of the layers in the blocks to the names in a column of `BLOCK_LAYERS`."""
    return {f"encoder/blocks/{row[0]}": [b + row[column] for b in blocks] for row in BLOCK_LAYERS}


def _tokens(model: ViT, class_token: str, position_embedding: str) -> list[Entry]:
    entries = [Entry(("params", "position_embedding"), position_embedding)]
    if model.pool == "token":
        entries.append(Entry(("params", "class_token"), class_token))
    return entries


def _ignored(model: ViT) -> tuple[str, ...]:
    """Files from pre-training hold the hidden layer that fine-tuning leaves out."""
    return () if model.representation_size is not None else (r"pre_logits[./].*",)


FAMILY = Family(
    ViT,
    {
        "torchvision": torchvision,
        "torchvision_0_12": torchvision_0_12,
        "timm": timm,
        "google": google,
    },
    [
        *torchvision_weights(
            ("vit_b16", "tv_in1k", "vit_b_16-c867db91.pth", 256, 81.072),
            ("vit_b32", "tv_in1k", "vit_b_32-d86f8d99.pth", 256, 75.912),
            ("vit_l16", "tv_in1k", "vit_l_16-852ce7e3.pth", 242, 79.662),
            ("vit_l32", "tv_in1k", "vit_l_32-c7638314.pth", 256, 76.972),
        ),
        *google_weights(
            ("vit_ti16", "Ti_16", "none", 0.03, 0.0, 0.03, (IN21K, FINE_TUNED, FINE_TUNED_384)),
            ("vit_s32", "S_32", "light1", 0.03, 0.0, 0.03, (IN21K, FINE_TUNED, FINE_TUNED_384)),
            ("vit_s16", "S_16", "light1", 0.03, 0.0, 0.03, (IN21K, FINE_TUNED, FINE_TUNED_384)),
            ("vit_b32", "B_32", "medium1", 0.03, 0.0, 0.03, (IN21K, FINE_TUNED)),
            ("vit_b32", "B_32", "light1", 0.1, 0.0, 0.03, (FINE_TUNED_384,)),
            ("vit_b16", "B_16", "medium1", 0.1, 0.0, 0.01, (IN21K, FINE_TUNED, FINE_TUNED_384)),
            ("vit_b8", "B_8", "medium1", 0.1, 0.0, 0.01, (IN21K, FINE_TUNED)),
            ("vit_l16", "L_16", "medium1", 0.1, 0.1, 0.01, (IN21K, FINE_TUNED, FINE_TUNED_384)),
            ("vit_s16", "S_16", "medium2", 0.1, 0.0, 0.01, (IN1K, IN1K_384)),
            ("vit_b32", "B_32", "medium2", 0.1, 0.1, 0.01, (IN1K, IN1K_384)),
            ("vit_b16", "B_16", "strong2", 0.1, 0.1, 0.01, (IN1K, IN1K_384)),
        ),
    ],
)
