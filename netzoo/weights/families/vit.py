"""Names of the Vision Transformer's tensors in torchvision, timm and Google's JAX code."""

from collections.abc import Mapping, Sequence

import flax.traverse_util

from netzoo.models.vit import ViT
from netzoo.weights.state_dict import DENSE, SAME, Entry, Layout, Transform, torch_layout

PROJECTIONS = ("query", "key", "value")
ATTENTION = ("encoder", "blocks", "attention")
# Layers of a block: ours, torchvision's, timm's, Google's.
BLOCK_LAYERS = (
    ("attention_norm", "ln_1", "norm1", "LayerNorm_0"),
    ("attention/out", "self_attention.out_proj", "attn.proj", "MultiHeadDotProductAttention_1/out"),
    ("mlp_norm", "ln_2", "norm2", "LayerNorm_2"),
    ("mlp/expand", "mlp.0", "mlp.fc1", "MlpBlock_3/Dense_0"),
    ("mlp/project", "mlp.3", "mlp.fc2", "MlpBlock_3/Dense_1"),
)
# In the old files of torchvision.
OLD_TORCHVISION_LAYERS = {"mlp.0": "mlp.linear_1", "mlp.3": "mlp.linear_2"}
# Files from pre-training hold the hidden layer that fine-tuning leaves out.
PRE_LOGITS = r"pre_logits[./].*"


def torchvision(model: ViT, shapes) -> Layout:
    """`conv_proj`, `encoder.layers.encoder_layer_0.mlp.0`, `heads.head`."""
    return _torchvision(model, shapes, {})


def torchvision_0_12(model: ViT, shapes) -> Layout:
    """`mlp.linear_1` for `mlp.0`: the published files, which torchvision renames as it loads."""
    return _torchvision(model, shapes, OLD_TORCHVISION_LAYERS)


def timm(model: ViT, shapes) -> Layout:
    """`patch_embed.proj`, `blocks.0.attn.qkv`, `head`; `pre_logits.fc` is of old versions."""
    return timm_layout(model, shapes, {"embedding": "patch_embed.proj"})


def google(model: ViT, shapes) -> Layout:
    """`embedding`, `Transformer/encoderblock_0/MlpBlock_3/Dense_0`, `head`."""
    return google_layout(model, shapes, {})


def timm_layout(model: ViT, shapes, embedding: Mapping[str, str]) -> Layout:
    """Returns timm's names, given those of the modules up to the tokens."""
    blocks = [f"blocks.{index}" for index in range(model.variant.depth)]
    names = {
        **embedding,
        "encoder/norm": "norm",
        "pre_logits": "pre_logits.fc",
        "logits": "head",
        **{f"encoder/blocks/{ours}": [f"{b}.{timm}" for b in blocks]
           for ours, _, timm, _ in BLOCK_LAYERS},
    }  # fmt: skip
    tokens = _tokens(model, "cls_token", "pos_embed")
    qkv = _joint_projection(blocks, ".attn.qkv.weight", ".attn.qkv.bias")
    return torch_layout(shapes, names, extra=tokens + qkv, ignored=_ignored(model))


def google_layout(model: ViT, shapes, embedding: Mapping[str, str]) -> Layout:
    """Returns Google's names, given those of the modules up to the tokens.

    Kernels are as ours. The projections of attention have the heads as an axis of their own, and
    GroupNorms of old files are `[1, 1, 1, channels]`.
    """
    blocks = [f"Transformer/encoderblock_{index}/" for index in range(model.variant.depth)]
    names: dict[str, str | Sequence[str]] = {
        "embedding": "embedding",
        **embedding,
        "encoder/norm": "Transformer/encoder_norm",
        "pre_logits": "pre_logits",
        "logits": "head",
        **{f"encoder/blocks/{ours}": [b + google for b in blocks]
           for ours, _, _, google in BLOCK_LAYERS},
        **{f"encoder/blocks/attention/{name}": [
            f"{b}MultiHeadDotProductAttention_1/{name}" for b in blocks] for name in PROJECTIONS},
    }  # fmt: skip
    entries = _tokens(model, "cls", "Transformer/posembed_input/pos_embedding")
    taken = {entry.target for entry in entries}
    for target in flax.traverse_util.flatten_dict(shapes):
        if target in taken:
            continue
        theirs = names["/".join(target[1:-1])]
        transform = _google_transform(target, model.variant.heads)
        if isinstance(theirs, str):
            entries.append(Entry(target, f"{theirs}/{target[-1]}", transform))
        else:
            entries += [
                Entry(target, f"{name}/{target[-1]}", transform, layer)
                for layer, name in enumerate(theirs)
            ]
    return Layout(entries, _ignored(model))


def _torchvision(model: ViT, shapes, renamed: Mapping[str, str]) -> Layout:
    blocks = [f"encoder.layers.encoder_layer_{index}" for index in range(model.variant.depth)]
    names = {
        "embedding": "conv_proj",
        "encoder/norm": "encoder.ln",
        "pre_logits": "heads.pre_logits",
        "logits": "heads.head",
        **{f"encoder/blocks/{ours}": [f"{b}.{renamed.get(theirs, theirs)}" for b in blocks]
           for ours, theirs, _, _ in BLOCK_LAYERS},
    }  # fmt: skip
    tokens = _tokens(model, "class_token", "encoder.pos_embedding")
    attention = ".self_attention.in_proj_"
    qkv = _joint_projection(blocks, f"{attention}weight", f"{attention}bias")
    return torch_layout(shapes, names, extra=tokens + qkv)


def _tokens(model: ViT, class_token: str, position_embedding: str) -> list[Entry]:
    entries = [Entry(("params", "position_embedding"), position_embedding)]
    if model.pool == "token":
        entries.append(Entry(("params", "class_token"), class_token))
    return entries


def _joint_projection(blocks: Sequence[str], weight: str, bias: str) -> list[Entry]:
    """Queries, keys and values are the thirds of one dense layer."""
    return [
        Entry(("params", *ATTENTION, name, leaf), block + theirs, transform, layer, (third, 3))
        for layer, block in enumerate(blocks)
        for third, name in enumerate(PROJECTIONS)
        for leaf, theirs, transform in (("kernel", weight, DENSE), ("bias", bias, SAME))
    ]


def _google_transform(target: tuple[str, ...], heads: int) -> Transform:
    if target[1:4] == ATTENTION:
        if target[-2:] == ("out", "kernel"):
            return Transform(
                lambda x: x.reshape(-1, x.shape[-1]), lambda x: x.reshape(heads, -1, x.shape[-1])
            )
        if target[-2] in PROJECTIONS and target[-1] == "kernel":
            return Transform(
                lambda x: x.reshape(len(x), -1), lambda x: x.reshape(len(x), heads, -1)
            )
        if target[-2] in PROJECTIONS:
            return Transform(lambda x: x.reshape(-1), lambda x: x.reshape(heads, -1))
    if target[-1] in ("scale", "bias"):
        return Transform(lambda x: x.reshape(-1), lambda x: x)
    return SAME


def _ignored(model: ViT) -> tuple[str, ...]:
    return () if model.representation_size is not None else (PRE_LOGITS,)


LAYOUTS = {
    "torchvision": torchvision,
    "torchvision_0_12": torchvision_0_12,
    "timm": timm,
    "google": google,
}
