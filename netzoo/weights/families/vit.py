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
    DENSE,
    SAME,
    Entry,
    Layout,
    Path,
    Transform,
    layout_by_modules,
    torch_layout,
)

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
# Files from pre-training hold the hidden layer that fine-tuning leaves out.
PRE_LOGITS = r"pre_logits[./].*"


def torchvision(model: ViT, shapes, renamed: Mapping[str, str] | None = None) -> Layout:
    """`conv_proj`, `encoder.layers.encoder_layer_0.mlp.0`, `heads.head`."""
    renamed = renamed or {}
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


def torchvision_0_12(model: ViT, shapes) -> Layout:
    """`mlp.linear_1` for `mlp.0`: the published files, which torchvision renames as it loads."""
    return torchvision(model, shapes, {"mlp.0": "mlp.linear_1", "mlp.3": "mlp.linear_2"})


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

    def tensor_of(target: Path, rank: int) -> tuple[str, Transform]:
        return f"/{target[-1]}", _google_transform(target, model.variant.heads)

    tokens = _tokens(model, "cls", "Transformer/posembed_input/pos_embedding")
    return layout_by_modules(shapes, names, tensor_of, extra=tokens, ignored=_ignored(model))


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


def _google_transform(target: Path, heads: int) -> Transform:
    if target[1:-1] == (*ATTENTION, "out") and target[-1] == "kernel":
        return Transform(
            lambda x: x.reshape(-1, x.shape[-1]), lambda x: x.reshape(heads, -1, x.shape[-1])
        )
    if target[1:4] == ATTENTION and target[4] in PROJECTIONS:
        return Transform(
            lambda x: x.reshape(*x.shape[:-2], -1), lambda x: x.reshape(*x.shape[:-1], heads, -1)
        )
    if target[-1] in ("scale", "bias"):
        return Transform(lambda x: x.reshape(-1), lambda x: x)
    return SAME


def _ignored(model: ViT) -> tuple[str, ...]:
    return () if model.representation_size is not None else (PRE_LOGITS,)


# Columns: the arguments of `torchvision_weights`.
TORCHVISION = (
    ("vit_b16", "tv_in1k", "vit_b_16-c867db91.pth", 256, 81.072),
    ("vit_b32", "tv_in1k", "vit_b_32-d86f8d99.pth", 256, 75.912),
    ("vit_l16", "tv_in1k", "vit_l_16-852ce7e3.pth", 242, 79.662),
    ("vit_l32", "tv_in1k", "vit_l_32-c7638314.pth", 256, 76.972),
)
# Columns: the arguments of `google_weights` after the tag, and the tags.
GOOGLE = (
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
)
FAMILY = Family(
    ViT,
    {
        "torchvision": torchvision,
        "torchvision_0_12": torchvision_0_12,
        "timm": timm,
        "google": google,
    },
    [
        *(torchvision_weights(*row) for row in TORCHVISION),
        *(google_weights(tag, *row) for *row, tags in GOOGLE for tag in tags),
    ],
)
