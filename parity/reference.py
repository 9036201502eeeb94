"""Runs the reference implementations and stores their results. It needs the extra `parity`."""

import importlib
import json
import re
import sys
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path

import torch

from parity import generator, reference_edits
from parity.cases import CASES, LABEL_SMOOTHING, NUM_CLASSES, Case
from parity.reference_transformer import TokenTransformer

FIXTURES = Path(__file__).parent / "fixtures"


def _timm(case: Case) -> torch.nn.Module:
    timm = importlib.import_module("timm")
    return timm.create_model(case.reference, num_classes=NUM_CLASSES, **case.arguments)


def _torchvision(case: Case) -> torch.nn.Module:
    models = importlib.import_module("torchvision.models")
    return attrgetter(case.reference)(models)(num_classes=NUM_CLASSES, **case.arguments)


def _transformers(case: Case) -> torch.nn.Module:
    library = importlib.import_module("transformers")
    config = getattr(library, f"{case.reference}Config")(num_labels=NUM_CLASSES, **case.arguments)
    return getattr(library, f"{case.reference}ForImageClassification")(config)


def _torch(case: Case) -> torch.nn.Module:
    return TokenTransformer(NUM_CLASSES, **case.arguments)


CONSTRUCTORS = {
    **{"timm": _timm, "torchvision": _torchvision},
    **{"transformers": _transformers, "torch": _torch},
}
# transformers 5 writes files with other names for its ViT than its module has.
STORED = (
    (r"vit\.layers\.", "vit.encoder.layer."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.attention\.q_proj\.", ".attention.attention.query."),
    (r"\.attention\.k_proj\.", ".attention.attention.key."),
    (r"\.attention\.v_proj\.", ".attention.attention.value."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)


def stored_name(case: Case, name: str) -> str:
    """Return the name that a tensor has in a file of the library."""
    for pattern, new in STORED if case.library == "transformers" else ():
        name = re.sub(pattern, new, name)
    return name


class HardSigmoid(torch.nn.Module):
    """`torch.nn.Hardsigmoid` with a gradient in float64.

    PyTorch's own gradient multiplies by 1/6 in float32 for every dtype, which is off by 3e-8.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the value for every element."""
        return torch.nn.functional.relu6(x + 3) / 6


def build(case: Case) -> torch.nn.Module:
    """Create the reference with generated weights and without dropout."""
    model = CONSTRUCTORS[case.library](case)
    if case.edit:
        getattr(reference_edits, case.edit)(model)
    names = {stored_name(case, name): name for name in model.state_dict()}
    shapes = {name: tuple(model.state_dict()[theirs].shape) for name, theirs in names.items()}
    drawn = {names[name]: torch.from_numpy(w) for name, w in generator.weights(shapes).items()}
    model.load_state_dict(drawn, strict=False)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.1
        for name, child in module.named_children():
            if isinstance(child, torch.nn.Hardsigmoid):
                setattr(module, name, HardSigmoid())
    return model


def outputs(result) -> dict[str, torch.Tensor]:
    """Return logits and auxiliary logits by name, for every type of result."""
    if isinstance(result, torch.Tensor):
        return {"logits": result}
    # torchvision's GoogLeNetOutputs, and what transformers returns
    named = result if isinstance(result, Mapping) else result._asdict()
    names = {"logits": "logits", "aux_logits1": "aux1", "aux_logits2": "aux2"}
    return {names[name]: value for name, value in named.items() if value is not None}


def run(case: Case, dtype: torch.dtype = torch.float64) -> dict:
    """Return the fixture: the reference's results in evaluation and in training mode."""
    model = build(case).to(dtype)
    inputs = [torch.from_numpy(x) for x in case.inputs()]
    inputs = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
    with torch.no_grad():
        evaluated = outputs(model.eval()(*inputs))
    batch_norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
    }
    before = {name: module.running_var.clone() for name, module in batch_norms.items()}
    counts = {}
    for name, module in batch_norms.items():
        module.register_forward_pre_hook(
            lambda module, args, name=name: counts.update(
                {name: args[0].numel() // args[0].shape[1]}
            )
        )
    trained = outputs(model.train()(*inputs))
    loss = sum(
        (
            value * torch.from_numpy(generator.normal(f"loss {name}", tuple(value.shape))).to(dtype)
        ).sum()
        for name, value in trained.items()
    )
    loss.backward()
    statistics = {}
    for name, module in batch_norms.items():
        if name not in counts:  # a branch that did not run
            continue
        # PyTorch keeps the unbiased variance; netzoo keeps the biased one, like Flax.
        new = module.running_var - 0.9 * before[name]
        biased = 0.9 * before[name] + new * (counts[name] - 1) / counts[name]
        for leaf, value in (("running_mean", module.running_mean), ("running_var", biased)):
            statistics[f"{name}.{leaf}"] = value
    gradients = {
        stored_name(case, name): p.grad
        for name, p in model.named_parameters()
        if p.grad is not None
    }

    state = {n: t for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    state = {stored_name(case, name): tensor for name, tensor in state.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    libraries = {"torch": torch.__version__}
    libraries[case.library] = importlib.import_module(case.library).__version__
    fixture = {
        "versions": libraries,
        "tensors": {name: list(shape) for name, shape in shapes.items()},
        "fingerprint": generator.fingerprint(generator.weights(shapes)),
        "evaluation": {name: value.tolist() for name, value in evaluated.items()},
        "training": {name: value.tolist() for name, value in trained.items()},
        "statistics": summaries(statistics),
        "gradients": summaries(gradients),
    }
    if not case.image_size:
        fixture["translation"] = translation(model, *inputs)
    return fixture


def translation(model: torch.nn.Module, source: torch.Tensor, target: torch.Tensor) -> dict:
    """Return the label-smoothed loss of a translation over the real tokens, and its gradients."""
    model.zero_grad()
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING, ignore_index=0)
    logits = model(source, target[:, :-1])
    loss = loss_of(logits.flatten(0, 1), target[:, 1:].flatten().long())
    loss.backward()
    return {
        "loss": loss.item(),
        "gradients": summaries({name: p.grad for name, p in model.named_parameters()}),
    }


def summaries(tensors: Mapping[str, torch.Tensor]) -> dict[str, list[float]]:
    """Return `generator.summary` of every tensor."""
    return {n: generator.summary(n, t.detach().numpy()) for n, t in tensors.items()}


def rounding(name: str) -> float:
    """Return the largest relative error of the reference's own gradients in float32."""
    exact, rounded = (run(CASES[name], dtype) for dtype in (torch.float64, torch.float32))
    return generator.largest_error(rounded["gradients"], exact["gradients"])


def main(names: list[str]) -> None:
    """Write the fixtures of all cases or the named ones; --rounding prints `rounding` instead."""
    if "--rounding" in names:
        for name in [name for name in names if name in CASES] or CASES:
            print(f"{name}: gradients in float32 are up to {rounding(name):.1e} off")
        return
    for name in names or CASES:
        fixture = run(CASES[name])
        path = FIXTURES / f"{name}.json"
        path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")
        print(f"{path.name}: {len(fixture['tensors'])} tensors, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
