"""A contestant that says how the time of a step divides among kinds of operations.

It runs a few steps of netzoo under JAX's profiler, or of torch under its own, and prints their
seconds by kind as its only answer.
"""

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.contestants import serve

WARM_UP = 3
KINDS = ("convolutions and products", "transpositions", "other")
# Beginnings of the names of operations. XLA computes products, and the sums of BatchNorm, in
# `ynn_fusion`. Its convolutions return before they end, so their recorded time is too short. They
# get the part of the step that no other operation takes.
_JAX = {"ynn_fusion": KINDS[0], "dot": KINDS[0], "transpose_copy": KINDS[1], "copy": KINDS[1]}
_TORCH = ("aten::mkldnn_convolution", "aten::_slow_conv2d_forward", "aten::convolution_backward")
_TORCH += ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm")
_TORCH += ("aten::_scaled_dot_product_flash_attention_for_cpu",)
_TORCH += ("aten::_scaled_dot_product_flash_attention_for_cpu_backward",)


def kinds_of_jax(seconds: dict[str, float], step: float) -> dict[str, float]:
    """Return the seconds of each kind.

    Args:
      seconds: Seconds of each operation in a step, by name.
      step: Seconds of the step.
    """
    kinds = Counter(dict.fromkeys(KINDS, 0.0))
    for name, mine in seconds.items():
        if not name.startswith("conv"):
            found = (kind for start, kind in _JAX.items() if name.startswith(start))
            kinds[next(found, KINDS[2])] += mine
    kinds[KINDS[0]] += max(0.0, step - sum(kinds.values()))
    return dict(kinds)


def kinds_of_torch(seconds: dict[str, float], step: float) -> dict[str, float]:
    """Return the seconds of each kind for torch; the rest of the step is `"other"`."""
    kinds = dict.fromkeys(KINDS, 0.0)
    kinds[KINDS[0]] = sum(seconds.get(name, 0.0) for name in _TORCH)
    kinds[KINDS[1]] = seconds.get("aten::copy_", 0.0)  # copies into other layouts
    kinds[KINDS[2]] = max(0.0, step - sum(kinds.values()))
    return kinds


def profile_jax(settings: dict[str, Any]) -> tuple[dict[str, float], float]:
    """Return the seconds of each operation of netzoo's step, and of the whole step."""
    import jax

    from benchmarks.worker import make_program

    step, state, _ = make_program(settings)

    def run(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, loss = step(state)
        jax.block_until_ready((state, loss))

    with tempfile.TemporaryDirectory() as folder:
        run(WARM_UP)
        with jax.profiler.trace(folder):
            taken = _seconds(run, settings["steps"])
        (file,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(file))
    seconds: Counter[str] = Counter()
    for plane in data.planes:
        for line in plane.lines:
            for event in line.events:
                if "hlo_op" in dict(event.stats):
                    seconds[event.name] += event.duration_ns / 1e9 / settings["steps"]
    return seconds, taken


def profile_torch(settings: dict[str, Any]) -> tuple[dict[str, float], float]:
    """Return the same for torch, in the faster of its memory layouts."""
    from torch.profiler import ProfilerActivity, profile

    from benchmarks.torch_worker import make_step

    found = []
    for contestant in ("torch", "torch channels_last"):
        step, _ = make_step({**settings, "contestant": contestant}, "cpu")

        def run(count: int, step: Callable = step) -> None:
            for _ in range(count):
                step(None)

        run(WARM_UP)
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            taken = _seconds(run, settings["steps"])
        events = profiler.key_averages()
        steps = settings["steps"]
        found.append((taken, {e.key: e.self_cpu_time_total / 1e6 / steps for e in events}))
    taken, seconds = min(found, key=lambda item: item[0])
    return seconds, taken


def _seconds(run: Callable[[int], None], steps: int) -> float:
    start = time.perf_counter()
    run(steps)
    return (time.perf_counter() - start) / steps


def main(settings: dict[str, Any]) -> None:
    """Profile, and print the seconds of a step and of each kind."""
    if settings["contestant"] == "netzoo":
        seconds, step = profile_jax(settings)
        kinds = kinds_of_jax(seconds, step)
    else:
        seconds, step = profile_torch(settings)
        kinds = kinds_of_torch(seconds, step)
    serve({"step": step, "kinds": kinds})


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
