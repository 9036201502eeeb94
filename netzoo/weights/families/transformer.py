"""Names of the Transformer's tensors in PyTorch."""

from netzoo.models.transformer import Transformer
from netzoo.weights.published import Family
from netzoo.weights.state_dict import DENSE, SAME, Entry, Layout, torch_layout

SELF_ATTENTION = {"attention": "self_attn"}
CROSS_ATTENTION = {"attention": "self_attn", "cross_attention": "multihead_attn"}


def torch(model: Transformer, shapes) -> Layout:
    """`torch.nn.Transformer` beside `embedding.weight`.

    Its own constructor ends both stacks with a norm: `final_norm=True` here. Embeddings that are
    not shared are `source_embedding`, `target_embedding` and, for the logits, `logits`.
    """
    names: dict[str, str | list[str]] = {
        "encoder/norm": "encoder.norm",
        "decoder/norm": "decoder.norm",
    }
    if not model.share_embeddings:
        names["logits"] = "logits"
    extra = [
        Entry(("params", name, "embedding"), f"{name}.weight")
        for name in ("embedding", "source_embedding", "target_embedding")
        if name in shapes["params"]
    ]
    for stack, attentions in (("encoder", SELF_ATTENTION), ("decoder", CROSS_ATTENTION)):
        layers = [f"{stack}.layers.{index}" for index in range(model.variant.layers)]
        sublayers = (*attentions, "mlp")
        theirs = {"mlp/expand": "linear1", "mlp/project": "linear2"}
        for ours, attention in attentions.items():
            theirs[f"{ours}/out"] = f"{attention}.out_proj"
            extra += _joint_projection((stack, "blocks", ours), f".{attention}.in_proj_", layers)
        for number, ours in enumerate(sublayers, start=1):
            theirs[f"{ours}_norm"] = f"norm{number}"
        for ours, name in theirs.items():
            names[f"{stack}/blocks/{ours}"] = [f"{layer}.{name}" for layer in layers]
    head = ("embedding", "source_embedding", "target_embedding", "logits")
    return torch_layout(shapes, names, extra=extra, head=head)


def _joint_projection(module: tuple[str, ...], suffix: str, layers: list[str]) -> list[Entry]:
    """Entries of a query, key and value that PyTorch keeps in one tensor, in this order."""
    return [
        Entry(
            ("params", *module, ours, leaf), f"{name}{suffix}{theirs}", transform, layer, (part, 3)
        )
        for layer, name in enumerate(layers)
        for part, ours in enumerate(("query", "key", "value"))
        for leaf, theirs, transform in (("kernel", "weight", DENSE), ("bias", "bias", SAME))
    ]


FAMILY = Family(Transformer, {"torch": torch}, [])
