"""Names of the Vision Transformer's tensors in torchvision, timm, transformers and JAX code."""

from collections.abc import Sequence

from netzoo.models.vit import ViT
from netzoo.weights.published import (
    GOOGLE_IMAGES,
    KERAS_IMAGES,
    TORCHVISION_IMAGES,
    Family,
    Project,
)
from netzoo.weights.state_dict import (
    SAME,
    Entry,
    Layout,
    Names,
    Path,
    Transform,
    joint_projection,
    make_layout,
)

ATTENTION = "encoder/blocks/attention"
# Columns of the tables below; the first column holds netzoo's names. Parts of networks that only
# timm has keep netzoo's names elsewhere.
TORCHVISION, TIMM, GOOGLE, TRANSFORMERS = 1, 2, 3, 4
OTHERS_OF_TIMM = {
    r"reg_token": "register tokens (register_tokens=4)",
    r"dist_token|head_dist\..*": "a distillation token",
    r"fc_norm\..*": "a norm after the average over the tokens (norm_after_pool=True)",
    r"norm_pre\..*": "a norm before the blocks (pre_norm=True)",
    r"attn_pool\..*": "attention pooling",
    r"blocks\.\d+\.ls\d\.gamma": "layer scale (layer_scale=1e-5)",
    r"blocks\.\d+\.attn\.[qk]_norm\..*": "norms of queries and keys",
}
TOKENS = (
    ("class_token", "class_token", "cls_token", "cls", "vit.embeddings.cls_token"),
    (*("register_tokens", "register_tokens", "reg_token"), *("register_tokens", "register_tokens")),
    (
        "position_embedding",
        "encoder.pos_embedding",
        "pos_embed",
        "Transformer/posembed_input/pos_embedding",
        "vit.embeddings.position_embeddings",
    ),
)
MODULES = (
    (
        *("embedding", "conv_proj", "patch_embed.proj", "embedding"),
        "vit.embeddings.patch_embeddings.projection",
    ),
    ("embedding_norm", "embedding_norm", "norm_pre", "embedding_norm", "embedding_norm"),
    ("encoder/norm", "encoder.ln", "norm", "Transformer/encoder_norm", "vit.layernorm"),
    ("pooled_norm", "pooled_norm", "fc_norm", "pooled_norm", "pooled_norm"),
    ("pre_logits", "heads.pre_logits", "pre_logits.fc", "pre_logits", "vit.pooler.dense"),
    ("logits", "heads.head", "head", "head", "classifier"),
)
BLOCK_LAYERS = (
    ("attention_norm", "ln_1", "norm1", "LayerNorm_0", "layernorm_before"),
    (
        *("attention/out", "self_attention.out_proj", "attn.proj"),
        *("MultiHeadDotProductAttention_1/out", "attention.output.dense"),
    ),
    ("mlp_norm", "ln_2", "norm2", "LayerNorm_2", "layernorm_after"),
    ("mlp/expand", "mlp.0", "mlp.fc1", "MlpBlock_3/Dense_0", "intermediate.dense"),
    ("mlp/project", "mlp.3", "mlp.fc2", "MlpBlock_3/Dense_1", "output.dense"),
)


LAYER_SCALES = (("attention_scale", "ls1.gamma"), ("mlp_scale", "ls2.gamma"))


def torchvision(model: ViT, shapes) -> Layout:
    """Return the layout with names such as `encoder.layers.encoder_layer_0.mlp.0`."""
    blocks = [f"encoder.layers.encoder_layer_{index}." for index in range(model.variant.depth)]
    joint = joint_projection(ATTENTION, [f"{block}self_attention.in_proj_" for block in blocks])
    extra = _parameters(model, blocks, TORCHVISION) + joint
    return make_layout(shapes, _names(blocks, TORCHVISION), extra=extra)


def torchvision_0_12(model: ViT, shapes) -> Layout:
    """Return the names of the published files: `mlp.linear_1` instead of `mlp.0`."""

    def renamed(name: str) -> str:
        return name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2")

    layout = torchvision(model, shapes)
    entries = [entry._replace(source=renamed(entry.source)) for entry in layout.entries]
    return layout._replace(entries=entries)


def timm(model: ViT, shapes, backbone: Names | None = None) -> Layout:
    """Return the layout with names such as `blocks.0.attn.qkv`; old files have `pre_logits.fc`.

    `backbone` holds the names of the modules before the embedding.
    """
    blocks = [f"blocks.{index}." for index in range(model.variant.depth)]
    names = {**(backbone or {}), **_names(blocks, TIMM)}
    joint = joint_projection(ATTENTION, [f"{block}attn.qkv." for block in blocks])
    extra = _parameters(model, blocks, TIMM) + joint
    layout = make_layout(shapes, names, extra=extra, ignored=_ignored(model))
    return layout._replace(foreign=OTHERS_OF_TIMM)


def transformers(model: ViT, shapes) -> Layout:
    """Return the layout with names such as `vit.encoder.layer.0.attention.attention.query`.

    The pooler of pre-training is netzoo's `pre_logits`.
    """
    blocks = [f"vit.encoder.layer.{index}." for index in range(model.variant.depth)]
    names = _names(blocks, TRANSFORMERS)
    for name in ("query", "key", "value"):
        names[f"{ATTENTION}/{name}"] = [f"{block}attention.attention.{name}" for block in blocks]
    ignored = [r"vit\.embeddings\.mask_token"]
    if model.representation_size is None:
        ignored.append(r"vit\.pooler\.dense\..*")
    return make_layout(
        shapes, names, extra=_parameters(model, blocks, TRANSFORMERS), ignored=ignored
    )


def google(model: ViT, shapes, backbone: Names | None = None) -> Layout:
    """Return the layout with names such as `Transformer/encoderblock_0/MlpBlock_3/Dense_0`.

    Kernels have netzoo's axes, but the projections of attention have a separate axis for the heads.
    GroupNorms of old files are `[1, 1, 1, channels]`. For `backbone`, see `timm`.
    """
    blocks = [f"Transformer/encoderblock_{index}/" for index in range(model.variant.depth)]
    names = {**(backbone or {}), **_names(blocks, GOOGLE)}
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

    extra = _parameters(model, blocks, GOOGLE)
    return make_layout(shapes, names, naming, extra=extra, ignored=_ignored(model))


def _names(blocks: Sequence[str], column: int) -> Names:
    """Return a project's names of the embedding and all later modules."""
    names: Names = {row[0]: row[column] for row in MODULES}
    for row in BLOCK_LAYERS:
        names[f"encoder/blocks/{row[0]}"] = [block + row[column] for block in blocks]
    return names


def _parameters(model: ViT, blocks: Sequence[str], column: int) -> list[Entry]:
    """Return the entries of the parameters that belong to no module."""
    absent = {"class_token": model.pool == "gap", "register_tokens": not model.register_tokens}
    entries = [
        Entry(("params", row[0]), row[column]) for row in TOKENS if not absent.get(row[0], False)
    ]
    if model.layer_scale is not None:
        entries += [
            Entry(("params", "encoder", "blocks", ours, "scale"), f"{block}{theirs}", SAME, layer)
            for ours, theirs in LAYER_SCALES
            for layer, block in enumerate(blocks)
        ]
    return entries


def _ignored(model: ViT) -> tuple[str, ...]:
    """Return names of the hidden layer, which pre-trained files hold and fine-tuning omits."""
    return () if model.representation_size is not None else (r"pre_logits[./].*",)


OF_PYTORCH = {"gelu_approximate": False, "norm_epsilon": 1e-6}
# timm's networks have either epsilon, as their names say; netzoo's registered networks have it too.
OF_TIMM = {"gelu_approximate": False}
FAMILY = Family(
    ViT,
    {
        "torchvision": Project(torchvision, TORCHVISION_IMAGES, OF_PYTORCH),
        "torchvision_0_12": Project(torchvision_0_12, TORCHVISION_IMAGES, OF_PYTORCH),
        "timm": Project(timm, GOOGLE_IMAGES, OF_TIMM),
        "transformers": Project(
            transformers,
            KERAS_IMAGES._replace(resize_size=224),
            {"gelu_approximate": False, "norm_epsilon": 1e-12},
        ),
        "google": Project(google, GOOGLE_IMAGES, {"gelu_approximate": True, "norm_epsilon": 1e-6}),
    },
)
