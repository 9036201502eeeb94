"""Names of the Transformer's tensors in PyTorch."""

from netzoo.models.transformer import Transformer
from netzoo.weights.published import Family, Project
from netzoo.weights.state_dict import Entry, Layout, Names, joint_projection, make_layout

EMBEDDINGS = ("embedding", "source_embedding", "target_embedding")
ATTENTIONS = {
    "encoder": {"attention": "self_attn"},
    "decoder": {"attention": "self_attn", "cross_attention": "multihead_attn"},
}


def torch(model: Transformer, shapes) -> Layout:
    """Return the layout of a module that holds a `torch.nn.Transformer` and an `embedding`.

    `torch.nn.Transformer` ends both stacks with a norm, so `final_norm=True` is required.
    Embeddings that are not shared are named `source_embedding`, `target_embedding` and, for the
    logits, `logits`.
    """
    names: Names = {} if model.share_embeddings else {"logits": "logits"}
    extra = [
        Entry(("params", name, "embedding"), f"{name}.weight")
        for name in EMBEDDINGS
        if name in shapes["params"]
    ]
    for stack, attentions in ATTENTIONS.items():
        blocks = [f"{stack}.layers.{index}." for index in range(model.variant.layers)]
        layers = {"mlp/expand": "linear1", "mlp/project": "linear2"}
        for number, sublayer in enumerate((*attentions, "mlp"), start=1):
            layers[f"{sublayer}_norm"] = f"norm{number}"
        for ours, theirs in attentions.items():
            layers[f"{ours}/out"] = f"{theirs}.out_proj"
            joint = [f"{block}{theirs}.in_proj_" for block in blocks]
            extra += joint_projection(f"{stack}/blocks/{ours}", joint)
        for ours, theirs in layers.items():
            names[f"{stack}/blocks/{ours}"] = [block + theirs for block in blocks]
        names[f"{stack}/norm"] = f"{stack}.norm"
    return make_layout(shapes, names, extra=extra, head=(*EMBEDDINGS, "logits"))


FAMILY = Family(Transformer, {"torch": Project(torch, options={"norm_epsilon": 1e-5})})
