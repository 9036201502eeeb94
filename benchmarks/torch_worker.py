"""A contestant in PyTorch: a network of torchvision or timm in its best setting.

It has a fused AdamW, BatchNorm folded into the convolutions for inference, and on a GPU a compiled
model.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.contestants import peak_host_bytes, serve_steps
from benchmarks.peers import TORCH

NUM_CLASSES = 1000
AUXILIARY_WEIGHT = 0.3


def build(name: str, image_size: int) -> torch.nn.Module:
    """Create the counterpart of one of netzoo's networks."""
    entry = TORCH[name]
    options = {**entry.options, "num_classes": NUM_CLASSES}
    if entry.sized:
        options["img_size"] = image_size
    if entry.library == "timm":
        return importlib.import_module("timm").create_model(entry.name, **options)
    return getattr(importlib.import_module("torchvision").models, entry.name)(**options)


def fold_batch_norm(model: torch.nn.Module, images: torch.Tensor) -> None:
    """Fold every BatchNorm of a network in evaluation mode into the preceding convolution.

    A forward pass of `images` finds the pairs, because not every network can be traced. timm's
    BatchNorm includes the activation, which stays.
    """
    outputs, pairs, names = {}, [], {module: name for name, module in model.named_modules()}

    def note(module, inputs, output):
        if isinstance(module, torch.nn.Conv2d):
            outputs[id(output)] = module, output
        elif isinstance(module, torch.nn.BatchNorm2d) and id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], module))

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    with torch.inference_mode():
        model(images)
    hook.remove()
    for conv, norm in pairs:
        model.set_submodule(names[conv], torch.nn.utils.fuse_conv_bn_eval(conv, norm))
        model.set_submodule(names[norm], getattr(norm, "act", torch.nn.Identity()))


def make_step(settings: dict[str, Any], device: str) -> tuple[Callable, int]:
    """Return `step(None) -> (None, loss)`, and the number of parameters."""
    batch, side = settings["batch_size"], settings["image_size"]
    channels_last = settings["contestant"].endswith("channels_last")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    train = settings["mode"] == "train"
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=device)
    images = images.contiguous(memory_format=layout)
    labels = torch.randint(0, NUM_CLASSES, (batch,), device=device)
    model = build(settings["model"], side).train(train)
    parameters = sum(p.numel() for p in model.parameters())
    if not train:
        fold_batch_norm(model, torch.zeros(1, 3, side, side))
    model = model.to(device, memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05, fused=True)

    def compute() -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=settings["dtype"] == "bfloat16"):
            outputs = model((images.float() - 127.5) / 127.5)
        if torch.is_tensor(outputs):
            outputs = (outputs,)
        losses = [torch.nn.functional.cross_entropy(x.float(), labels) for x in outputs]
        # The first loss is the network's; the others are of GoogLeNet's auxiliary classifiers.
        return losses[0] + AUXILIARY_WEIGHT * sum(losses[1:])

    if device == "cuda":
        compute = torch.compile(compute)

    def step(state: None) -> tuple[None, torch.Tensor]:
        if not train:
            with torch.inference_mode():
                return state, compute()
        optimizer.zero_grad()
        loss = compute()
        loss.backward()
        optimizer.step()
        return state, loss.detach()

    return step, parameters


def main(settings: dict[str, Any]) -> None:
    """Run as a contestant until standard input ends."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    peak = torch.cuda.max_memory_allocated if device == "cuda" else peak_host_bytes
    step, parameters = make_step(settings, device)
    start = time.perf_counter()
    if device == "cuda":  # on a CPU, nothing is compiled
        step(None)
        wait()
    facts = {"parameters": parameters, "compile_seconds": time.perf_counter() - start}
    facts["versions"] = {"torch": torch.__version__}
    serve_steps(facts, step, None, lambda state: wait(), peak)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
