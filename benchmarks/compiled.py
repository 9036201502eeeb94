"""Compiles training steps with netzoo's layers and with flax's own by the TPU compiler.

python -m benchmarks.compiled --model mobilenet_v2 resnet50 --out results/compiled

The command needs the extra `tpu-aot`, not a TPU. Every program is compiled in its own process, one
at a time, which takes minutes. The line of a program is written at once, and the same command again
compiles the missing lines. If the compiler refuses the program of netzoo's layers, the batch of a
chip is halved until the compiler accepts it. `--table` prints the file, as the table of
docs/performance.md, without compiling.

A step is that of `benchmarks.throughput`: forward, backward and AdamW on uint8 images of the
network's published size, with the network's own dropout. On several chips, the batch is divided
among them. The Transformer, which has no version in flax's layers, trains on sentences of 64 tokens
and 8,000 subwords.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from chex import ArrayTree

from benchmarks import report, translation_worker
from benchmarks.contestants import ROOT
from benchmarks.worker import NUM_CLASSES, make_loss, make_training, with_layers_of
from netzoo import kernels
from netzoo import mesh as meshes
from netzoo.cli.plan.topology import ENVIRONMENT, check_libtpu, parse_target, tpu_devices
from netzoo.models import create_model, model_entry

# One network of each structure.
MODELS = (
    *("mobilenet_v2", "resnet50", "vit_b16", "mobilenet_v1", "mobilenet_v3_large", "alexnet"),
    *("vgg16_bn", "googlenet_bn", "resnet18", "resnext50_32x4d", "r26_s32", "transformer_base"),
)
LAYERS = NETZOO, FLAX = "netzoo", "flax"
TARGETS = ("tpu:v5e:1x1", "tpu:v5e:2x2")
KEY = ("model", "layers", "target", "batch_per_chip", "dtype", "remat")
# The quantities that are compared with flax's layers.
COMPARED = {"memory": "temporary_bytes", "moved": "bytes_accessed", "FLOP": "flops"}
SENTENCE, VOCABULARY = 64, 8000
# Results of a compilation. A batch that is refused for its memory may fit if it is halved.
COMPILED, REFUSED, FAILED = "compiled", "refused", "failed"
_REASON_LENGTH = 300


def training_step(settings: dict[str, Any], batch: int) -> tuple[Callable, ArrayTree, ArrayTree]:
    """Return `step(state, *inputs)` of a network, and the shapes of the state and of the inputs."""
    name, options = settings["model"], {"dtype": jnp.dtype(settings["dtype"])}
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
    if size := model_entry(name).image_size:
        model = create_model(name, NUM_CLASSES, **options)
        loss = make_loss(model, True, settings["remat"])
        inputs = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.uint8), labels
        example = [jnp.zeros((1, size, size, 3))]
    else:
        model = create_model(name, VOCABULARY, **options)
        loss = translation_worker.make_loss(model, 0.1)
        lengths = SENTENCE, SENTENCE + 1  # the target has a start too
        inputs = tuple(jax.ShapeDtypeStruct((batch, length), jnp.int32) for length in lengths)
        example = [jnp.zeros((1, 1), jnp.int32)] * 2

    def start(key: jax.Array) -> ArrayTree:
        return make_training(loss, model.init(key, *example, train=False))[1]

    step, _ = make_training(loss, {"params": {}})
    return step, jax.eval_shape(start, jax.random.key(0)), inputs


def lower_step(settings: dict[str, Any], devices: Sequence[jax.Device]) -> jax.stages.Lowered:
    """Return the program of a line for devices, not yet compiled."""
    mesh = meshes.create_mesh(devices=devices)
    network = type(create_model(settings["model"]))
    with kernels.use_backend("native"), with_layers_of(settings["layers"], network):
        step, *shapes = training_step(settings, settings["batch_per_chip"] * len(devices))
        places = meshes.replicated(mesh), meshes.split_batch(mesh)
        state, inputs = (
            jax.tree.map(lambda x, place=place: x.update(sharding=place), tree)
            for tree, place in zip(shapes, places, strict=True)
        )
        return jax.jit(step, donate_argnums=0, out_shardings=places[0]).lower(state, *inputs)


def compile_step(settings: dict[str, Any], devices: Sequence[jax.Device]) -> report.Line:
    """Compile the program of a line for devices, and return what the compiler says of it."""
    lowered = lower_step(settings, devices)
    start = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        seconds = time.perf_counter() - start
        exhausted = str(error).startswith("RESOURCE_EXHAUSTED")
        reason = " ".join(str(error).split())[:_REASON_LENGTH]
        return _result(REFUSED if exhausted else FAILED, seconds, reason=reason)
    seconds = time.perf_counter() - start
    memory: Any = compiled.memory_analysis()
    cost: Any = compiled.cost_analysis()
    return _result(
        COMPILED,
        seconds,
        temporary_bytes=memory.temp_size_in_bytes,
        peak_bytes=memory.peak_memory_in_bytes,
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        alias_bytes=memory.alias_size_in_bytes,
        bytes_accessed=int(cost["bytes accessed"]),
        flops=int(cost["flops"]),
    )


def _result(result: str, seconds: float, **found: Any) -> report.Line:
    return {"result": result, "compile_seconds": round(seconds, 1), **found}


def in_process(settings: dict[str, Any], limit: float) -> report.Line:
    """Return the result of `compile_step` in a process with low priority, within `limit` seconds.

    Raises:
      SystemExit: The program could not be traced.
    """
    command = ["nice", "-n", "10", sys.executable, "-m", "benchmarks.compiled", "--work-as"]
    command.append(json.dumps(settings))
    environment = {**os.environ, **ENVIRONMENT}
    try:
        process = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return _result(FAILED, limit, reason=f"not compiled within {limit:g} seconds")
    if process.returncode > 0:
        sys.exit(process.stderr)
    if process.returncode < 0:  # the compiler ends its process at an error of its own
        return {"result": FAILED, "reason": process.stderr[-_REASON_LENGTH:]}
    return json.loads(process.stdout.splitlines()[-1])


def programs(options: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Yield the settings of the programs of each network and target, with netzoo's layers first."""
    for target in options.target:
        for model in options.model:
            shared = {"target": target, "batch_per_chip": options.batch_size}
            shared |= {"dtype": options.dtype, "remat": options.remat}
            layers = options.layers if model_entry(model).image_size else [NETZOO]
            yield [{"model": model, "layers": name, **shared} for name in layers]


def measure(
    file: report.Lines,
    pairs: Iterator[list[dict[str, Any]]],
    compiled: Callable[[dict[str, Any]], report.Line],
) -> list[report.Line]:
    """Compile what the file lacks, and return the lines of all pairs."""
    found = []
    for pair in pairs:
        batch = pair[0]["batch_per_chip"]
        while batch:
            results = []
            for settings in ({**one, "batch_per_chip": batch} for one in pair):
                line = file.get(settings[name] for name in KEY)
                if line is None:
                    print(*(f"{name} {settings[name]}" for name in KEY), flush=True)
                    line = {**settings, **compiled(settings), **report.machine()}
                    line["libtpu"] = importlib.metadata.version("libtpu")
                    file.add([line])
                    print("  ", line["result"], line.get("reason", ""), flush=True)
                found.append(line)
                results.append(line["result"])
            batch = batch // 2 if results[0] == REFUSED else 0
    return found


def show(lines: Sequence[report.Line]) -> None:
    """Print as Markdown a row for each program of netzoo's layers, with the ratios to flax's."""

    def program(line: report.Line) -> tuple[str, ...]:
        return tuple(str(line[name]) for name in KEY if name != "layers")

    theirs = {program(line): line for line in lines if line["layers"] == FLAX}
    ours = [line for line in lines if line["layers"] == NETZOO]
    order = {name: place for place, name in enumerate((*TARGETS, *MODELS))}
    ours.sort(key=lambda line: [order.get(line[key], 0) for key in ("target", "model")])
    rows = []
    for line in ours:
        other = theirs.get(program(line), {"result": ""})
        both = COMPILED == line["result"] == other["result"]
        rows.append(
            [
                *(str(line[name]) for name in ("model", "target", "batch_per_chip")),
                *_sizes(line),
                *(f"{line[c] / other[c]:.3f}" if both else "" for c in COMPARED.values()),
                "" if both else other["result"],
            ]
        )
    numbers = ("temporary memory, GB", "peak, GB", "moved, GB", "GFLOP", "compiled in, s")
    ratios = (f"{name} / flax" for name in COMPARED)
    report.print_markdown(("network", "target", "batch", *numbers, *ratios, "flax"), rows, texts=2)


def _sizes(line: report.Line) -> list[str]:
    if line["result"] != COMPILED:
        return [line["result"], "", "", "", ""]
    names = ("temporary_bytes", "peak_bytes", "bytes_accessed", "flops")
    temporary, peak, moved, flops = (line[name] / 1e9 for name in names)
    sizes = [f"{temporary:.2f}", f"{peak:.2f}", f"{moved:.1f}", f"{flops:,.0f}"]
    return [*sizes, f"{line['compile_seconds']:,.0f}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compiled",
        description=(__doc__ or "").split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model", nargs="+", default=list(MODELS), help="networks")
    add("--layers", nargs="+", choices=LAYERS, default=list(LAYERS), help="layers to compile")
    add("--target", nargs="+", default=list(TARGETS), help="chips, as in `netzoo plan`")
    add("--batch-size", type=int, default=128, help="images or sentences a chip")
    add("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="compute dtype")
    add("--remat", action="store_true", help="recompute the blocks in the backward pass")
    add("--limit", type=float, default=3600, help="seconds that a program may take")
    add("--out", type=Path, help="folder for the results")
    add("--table", action="store_true", help="print the lines of the file without compiling")
    add("--work-as", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work_as:
        devices = tpu_devices(parse_target(options.work_as["target"]))
        print(json.dumps(compile_step(options.work_as, devices)))
        return
    file = report.Lines(options.out, "compiled.csv", KEY)
    if options.table:
        show(file.all())
        return
    check_libtpu()
    for target in options.target:
        parse_target(target)
    show(measure(file, programs(options), lambda one: in_process(one, options.limit)))


if __name__ == "__main__":
    main()
