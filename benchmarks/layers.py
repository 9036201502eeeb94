"""Time of layers with the shapes that they have in MobileNets and GoogLeNet, beside flax's.

python -m benchmarks.layers --batch-size 8 --out results/layers

It times the forward pass, and the forward pass with the gradients of input and parameters, in
float32. netzoo's layers, with netzoo's compiler options, and flax's, which are XLA's native
operations, run alternately, each in its own process.
"""

import argparse
import functools
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from benchmarks import flax_layers, report
from benchmarks.contestants import ratio, running, serve, spread, take_turns
from netzoo import layers
from netzoo.kernels import compiler_options

KEY = ("layer", "direction", "batch_size")
DIRECTIONS = ("forward", "with gradients")
CONTESTANTS = {"netzoo": layers, "flax": flax_layers}


class Case(NamedTuple):
    """A layer and its input.

    Attributes:
      layer: `"Conv"`, `"BatchNorm"` or `"max_pool"`.
      shape: Height, width and channels of the input.
      options: Options of the layer.
    """

    layer: str
    shape: tuple[int, int, int]
    options: tuple[tuple[str, int], ...] = ()


def _conv(side: int, channels: int, features: int, kernel: int, stride: int = 1, groups: int = 1):
    options = {"features": features, "kernel_size": kernel, "stride": stride, "groups": groups}
    return Case("Conv", (side, side, channels), tuple(options.items()))


CASES = {
    # Stages of MobileNetV2 and, with 5x5, of MobileNetV3.
    "depthwise 3x3": _conv(56, 144, 144, 3, groups=144),
    "depthwise 3x3, stride 2": _conv(112, 96, 96, 3, 2, groups=96),
    "depthwise 5x5": _conv(28, 120, 120, 5, groups=120),
    "depthwise 5x5, stride 2": _conv(56, 72, 72, 5, 2, groups=72),
    "pointwise, expanding": _conv(56, 24, 144, 1),
    "pointwise, projecting": _conv(14, 576, 96, 1),
    # AlexNet's second layer, and ResNeXt's third stage.
    "5x5 in 2 groups": _conv(27, 96, 256, 5, groups=2),
    "3x3 in 32 groups": _conv(14, 512, 512, 3, groups=32),
    "BatchNorm": Case("BatchNorm", (112, 112, 32)),
    # GoogLeNet's, before and in an Inception module.
    "max-pool 3x3, stride 2": Case("max_pool", (112, 112, 64), (("window", 3), ("stride", 2))),
    "max-pool 3x3": Case("max_pool", (28, 28, 192), (("window", 3), ("stride", 1))),
}


def compile_case(contestant: str, name: str, batch: int, backward: bool) -> Callable[[], Any]:
    """Return a function that runs a layer, or a layer and its gradients."""
    case, keys = CASES[name], jax.random.split(jax.random.key(0), 3)
    layer = functools.partial(getattr(CONTESTANTS[contestant], case.layer), **dict(case.options))
    x = jax.random.normal(keys[0], (batch, *case.shape))
    train = {"train": True} if case.layer == "BatchNorm" else {}
    variables = {} if case.layer == "max_pool" else layer().init(keys[1], x[:1], **train)

    def forward(variables: Any, x: jax.Array) -> jax.Array:
        if not variables:
            return layer(x)
        return layer().apply(variables, x, **train, mutable=["batch_stats"])[0]

    def both(variables: Any, x: jax.Array, dy: jax.Array) -> Any:
        y, pull = jax.vjp(forward, variables, x)
        return y, pull(dy)

    dy = jax.random.normal(keys[2], jax.eval_shape(forward, variables, x).shape)
    arguments = (variables, x, dy) if backward else (variables, x)
    options = compiler_options() if contestant == "netzoo" else {}
    step = jax.jit(both if backward else forward, compiler_options=options)
    compiled = step.lower(*arguments).compile()
    return lambda: compiled(*arguments)


def work(contestant: str) -> None:
    """Answer `[case, batch, backward, seconds]` with the mean time of the runs in these seconds."""
    compiled = functools.lru_cache(maxsize=1)(functools.partial(compile_case, contestant))

    def answer(question: list) -> dict[str, float]:
        *which, seconds = question
        run = compiled(*which)
        jax.block_until_ready(run())
        count, start = 0, time.perf_counter()
        while not count or time.perf_counter() - start < seconds:
            jax.block_until_ready(run())
            count += 1
        return {"seconds": (time.perf_counter() - start) / count}

    serve({"device": jax.devices()[0].device_kind}, answer)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table, or run as a contestant."""
    parser = report.flags("layers", __doc__, repeats=5)
    add = parser.add_argument
    add("--batch-size", type=int, default=8, help="images")
    add("--layer", nargs="+", choices=tuple(CASES), default=list(CASES), help="layers to measure")
    add("--seconds", type=float, default=0.2, help="of a repetition, with at least one run")
    add("--work-as", choices=tuple(CONTESTANTS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work_as:
        work(options.work_as)
        return
    file, lines = report.Lines(options.out, "layers.csv", KEY), []
    command = [sys.executable, "-m", "benchmarks.layers", "--work-as"]
    with running((name, [*command, name]) for name in CONTESTANTS) as processes:
        for layer, direction in itertools.product(options.layer, DIRECTIONS):
            case = (layer, options.batch_size, direction == DIRECTIONS[1])
            answers = take_turns(processes, [*case, options.seconds], options.repeats)
            ours, theirs = ([answer["seconds"] for answer in mine] for mine in answers)
            ratios = ("netzoo_ratio", "netzoo_ratio_low", "netzoo_ratio_high")
            lines.append(
                {
                    **dict(zip(KEY, (layer, direction, options.batch_size), strict=True)),
                    "shape": " x ".join(map(str, CASES[layer].shape)),
                    "netzoo_milliseconds": 1000 * spread(ours)[0],
                    "flax_milliseconds": 1000 * spread(theirs)[0],
                    **dict(zip(ratios, ratio(theirs, ours), strict=True)),
                    "repeats": options.repeats,
                    **report.machine(),
                    **processes[0].description,
                }
            )
            file.add(lines[-1:])
    show(lines)


def show(lines: Sequence[report.Line]) -> None:
    """Print the table."""
    rows = [
        [
            *(str(line[name]) for name in ("layer", "shape", "direction")),
            f"{line['netzoo_milliseconds']:.2f}",
            f"{line['flax_milliseconds']:.2f}",
            *report.ratio_cells(line),
        ]
        for line in lines
    ]
    columns = ("layer", "input", "direction", "netzoo ms", "flax ms", "netzoo is", "range")
    report.print_table(f"batches of {lines[0]['batch_size']}", columns, rows, texts=3)
    report.print_machine(lines)


if __name__ == "__main__":
    main()
