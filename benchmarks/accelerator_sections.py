"""The sections of `benchmarks.accelerator`: python -m benchmarks.accelerator_sections NAME JSON.

Each section writes a CSV file with its name into the folder `out` of the settings.
"""

import contextlib
import functools
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report, throughput
from benchmarks.contestants import ROOT, ContestantError, Process, take_turns
from benchmarks.peers import Contestant
from netzoo.errors import UserError
from netzoo.kernels.attention import cudnn_attention
from netzoo.layers.attention import attention_weights
from netzoo.workdir import EVAL_FILE, METRICS_FILE
from netzoo.workdir.metrics_log import read_metrics
from reliability import runs
from reliability.config import EPOCHS

# The most informative networks first, because the time may not suffice for all.
NETWORKS = (
    *("resnet50", "vit_s16", "mobilenet_v2", "r26_s32", "mobilenet_v3_large", "resnet18"),
    *("mobilenet_v1", "vgg11_bn", "googlenet_tv", "mobilenet_v3_small", "alexnet_owt"),
)
CONTESTANTS = ("netzoo", "torch channels_last")
# Rows whose contestants are started together: training and inference of two networks. They compile
# on the cores of the host, and only one of them computes when they are measured.
ROWS_AT_ONCE = 4
# Share of the epochs after which the training is killed.
KILLED_AT = 0.4
NETZOO_COMMAND = (sys.executable, "-m", "netzoo")


class Settings(NamedTuple):
    """The settings of a section."""

    out: Path
    repeats: int
    tiny: bool
    source: str
    peer_python: list[str]

    def lines(self, section: str, *key: str) -> report.Lines:
        """Return the file of a section."""
        return report.Lines(self.out, f"{section}.csv", key)


def device(settings: Settings) -> None:
    """Name the device, the machine and the versions."""
    found = jax.devices()
    statistics = found[0].memory_stats() or {}
    line = {
        "device": found[0].device_kind,
        "platform": found[0].client.platform_version.split("\n")[0],
        "devices": len(found),
        "memory_gib": round(statistics.get("bytes_limit", 0) / 2**30, 1),
        **report.machine(),
    }
    settings.lines("device", "device").add([line])


def written(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Return netzoo's attention; all arrays are `[batch, tokens, heads, size]`."""
    query, key, value = (x.swapaxes(1, 2) for x in (query, key, value))
    weights = attention_weights(query, key.swapaxes(2, 3), None)
    return jnp.einsum("bhqk,bhkd->bqhd", weights.astype(value.dtype), value)


def by_cudnn(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Return what netzoo computes with cuDNN on a GPU."""
    heads_first = (x.swapaxes(1, 2) for x in (query, key, value))
    return cudnn_attention(*heads_first).swapaxes(1, 2)


ATTENTIONS: dict[str, Callable[..., jax.Array]] = {
    "written": written,
    "xla": functools.partial(jax.nn.dot_product_attention, implementation="xla"),
    "cudnn": by_cudnn,
}


def attention(settings: Settings) -> None:
    """Compare netzoo's written attention with XLA's and cuDNN's.

    Errors are those of bfloat16 values and gradients against netzoo's attention in float32,
    relative to the largest value. A ViT/16 at 224 pixels has 197 tokens, or 196 without its class
    token.
    """
    file = settings.lines("attention", "attention", "tokens")
    shapes = [(2, 8, 2, 8), (2, 9, 2, 8)] if settings.tiny else []
    shapes = shapes or [(128, 196, 12, 64), (128, 197, 12, 64), (16, 1024, 12, 64)]
    for shape in shapes:
        draws = np.random.default_rng(0).normal(size=(4, *shape))
        with jax.default_matmul_precision("highest"):  # a GPU would round products to TF32
            exact = values_and_gradients(written, draws, jnp.float32)()
        for name, attend in ATTENTIONS.items():
            line = {"attention": name, "tokens": shape[1], "shape": "x".join(map(str, shape))}
            try:
                run = values_and_gradients(attend, draws, jnp.bfloat16)
                errors = map(relative_error, run(), exact)
                names = ("value", "query_gradient", "key_gradient", "value_gradient")
                line |= dict(zip(names, errors, strict=True))
                line["milliseconds"] = 1000 * min(seconds(run) for _ in range(settings.repeats))
            # Implementations raise different errors for unsupported devices and shapes.
            except (RuntimeError, NotImplementedError, ValueError) as error:
                line["refused"] = str(error).split("\n")[0][:200]
            file.add([line])


def values_and_gradients(
    attend: Callable[..., jax.Array], draws: np.ndarray, dtype: jnp.dtype
) -> Callable[[], list[jax.Array]]:
    """Compile attention; return a function of no arguments that returns values and gradients."""
    *inputs, cotangent = (jnp.asarray(x, dtype) for x in draws)

    @jax.jit
    def program(inputs, cotangent):
        value, vjp = jax.vjp(attend, *inputs)
        return [value, *vjp(cotangent)]

    compiled = program.lower(inputs, cotangent).compile()
    return lambda: compiled(inputs, cotangent)


def relative_error(found: jax.Array, exact: jax.Array) -> float:
    """Return the largest difference, relative to the largest exact value."""
    found, exact = (np.asarray(x, np.float32) for x in (found, exact))
    return float(np.abs(found - exact).max() / np.abs(exact).max())


def seconds(run: Callable[[], list[jax.Array]], calls: int = 10) -> float:
    """Return the mean time of calls."""
    start = time.perf_counter()
    for _ in range(calls):
        values = run()
    jax.block_until_ready(values)
    return (time.perf_counter() - start) / calls


def determinism(settings: Settings) -> None:
    """Train twice, and compare every array, metric and position of the two runs.

    The networks are a small one and MobileNetV2, with XLA's default options and with deterministic
    operations.
    """
    file = settings.lines("determinism", "network", "xla_flags")
    networks = {"reliability_small": (), "mobilenet_v2": ("--config.model.name=mobilenet_v2",)}
    if settings.tiny:
        del networks["mobilenet_v2"]
    deterministic = "--xla_gpu_deterministic_ops=true"
    for network, flags in networks.items():
        for options in ("",) if settings.tiny else ("", deterministic):
            line = {"network": network, "xla_flags": options}
            with xla_flags(options), tempfile.TemporaryDirectory() as folder:
                folders = [Path(folder) / name for name in ("first", "second")]
                for workdir in folders:
                    done = runs.finish(workdir, Path(folder) / "cache", "", *flags)
                    if done.returncode:
                        line["error"] = done.stderr.strip()[-300:]
                if "error" not in line:
                    different = runs.differences(*folders)
                    line |= {"identical": not different, "differences": "; ".join(different)}
            file.add([line])


@contextlib.contextmanager
def xla_flags(options: str) -> Iterator[None]:
    """Give XLA options in the processes that are started inside the `with` block."""
    with mock.patch.dict(os.environ):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {options}".strip()
        yield


def training(settings: Settings) -> None:
    """Train MobileNetV2 on the flowers, kill it, continue it, and compare the accuracy.

    The splits are those of results/mobilenet_v2, whose accuracy and interval the line repeats.
    """
    file = settings.lines("training", "config")
    workdir = settings.out / "run"
    shutil.rmtree(workdir, ignore_errors=True)
    recorded = json.loads((ROOT / "results" / "mobilenet_v2" / "record.json").read_text())
    flags = [f"--config.data.source={settings.source}", "--config.data.validation_split=None"]
    flags += [f"--config.data.{name}={recorded[name]}" for name in ("train_split", "test_split")]
    flags += [f"--config.data.num_threads={os.cpu_count()}"]
    config, epochs = "mobilenet_v2", recorded["epochs"]
    if settings.tiny:
        config, epochs, flags = runs.CONFIG, EPOCHS, []
    line: report.Line = {"config": config, "epochs": epochs}
    train = ["train", "--config", config, "--workdir", str(workdir), *flags]
    began = time.monotonic()
    first = start_netzoo(train)
    while first.poll() is None and last_epoch(workdir) < KILLED_AT * epochs:
        time.sleep(0.05)
    first.kill()
    line |= {"killed_at_step": runs.last_logged(workdir), "status": first.wait()}
    file.add([line])
    done = subprocess.run([*NETZOO_COMMAND, *train], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    line |= {"continued_at_step": runs.resumed_at(done.stdout), "continued_status": done.returncode}
    line |= {"training_seconds": round(time.monotonic() - began, 1)}
    line |= {"images_per_second": last_rate(workdir)}
    file.add([line])
    evaluate = ["eval", "--workdir", str(workdir)]
    subprocess.run([*NETZOO_COMMAND, *evaluate], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    accuracy = json.loads((workdir / EVAL_FILE).read_text())["accuracy"]
    low, high = recorded["interval"]
    line |= {"accuracy": accuracy, "recorded_accuracy": recorded["accuracy"]}
    file.add([{**line, "recorded_low": low, "recorded_high": high, "reached": accuracy >= low}])


def start_netzoo(arguments: list[str]) -> subprocess.Popen:
    """Start a command of netzoo."""
    return subprocess.Popen([*NETZOO_COMMAND, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL)


def last_epoch(workdir: Path) -> float:
    """Return the epochs that the metrics log of a run has reached."""
    path = workdir / METRICS_FILE
    with contextlib.suppress(UserError):  # a line that is being written
        return (
            max((x.get("epoch", 0) for x in read_metrics(path)), default=0) if path.exists() else 0
        )
    return 0


def last_rate(workdir: Path) -> float:
    """Return the median rate of a run's logged steps after the kill."""
    rates = [
        x["timing"]["images_per_second"]
        for x in read_metrics(workdir / METRICS_FILE)
        if "timing" in x
    ]
    return statistics.median(rates[len(rates) // 2 :])


def compare_throughput(settings: Settings) -> None:
    """Compare training and inference of the benchmark networks with compiled PyTorch.

    Both compute in bfloat16; PyTorch has channels_last, autocast and `torch.compile`. Without
    PyTorch for this device, netzoo is measured alone.
    """
    file = settings.lines("throughput", *throughput.KEY)
    found = throughput.find_contestants(["torch"], [*settings.peer_python, sys.executable])
    everyone = {c: python for c, python in found.items() if c.name in CONTESTANTS}
    networks = ("resnet18",) if settings.tiny else NETWORKS
    size, batch, steps = (32, 2, 1) if settings.tiny else (224, 128, 10)
    rows = [
        dict(zip(throughput.ROW, (name, size, batch, mode, "bfloat16", 0), strict=True))
        for name in networks
        for mode in ("train", "infer")
    ]
    lines = [line for row in rows for c in everyone if (line := file.get([*row.values(), c.name]))]
    rows = [row for row in rows if None in (file.get([*row.values(), c.name]) for c in everyone)]
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        plan = [
            (row, {c: p for c, p in everyone.items() if c.has(row["model"], size)}) for row in some
        ]
        with started(plan) as processes:
            for (row, contestants), mine in zip(plan, processes, strict=True):
                failed = [str(error) for error in mine if isinstance(error, ContestantError)]
                if failed:
                    report.CONSOLE.print(f"{row['model']}, {row['mode']}: {'; '.join(failed)}")
                    continue
                throughput.check_alike(mine)
                answers = take_turns(mine, steps, settings.repeats)
                measured = throughput.lines_of(contestants, mine, answers, row, steps)
                file.add(measured)
                lines += measured
    if lines:
        throughput.show(lines)


@contextlib.contextmanager
def started(
    plan: Sequence[tuple[dict[str, Any], dict[Contestant, str]]],
) -> Iterator[list[list[Process | ContestantError]]]:
    """Start the contestants of several rows at once, because most of a start is compilation.

    The block gets the processes of each row; an error replaces a process that did not start.
    """

    def start(contestant: Contestant, python: str, row: dict[str, Any]) -> Any:
        try:
            return Process(contestant.name, throughput.command(contestant, python, row))
        except ContestantError as error:
            return error

    with ThreadPoolExecutor() as pool:
        futures = [[pool.submit(start, c, p, row) for c, p in mine.items()] for row, mine in plan]
    processes = [[future.result() for future in row] for row in futures]
    try:
        yield processes
    finally:
        for process in itertools.chain(*processes):
            if isinstance(process, Process):
                process.close()


SECTIONS = {
    "device": device,
    "attention": attention,
    "determinism": determinism,
    "training": training,
    "throughput": compare_throughput,
}


def main(name: str, text: str) -> None:
    """Run a section."""
    options = json.loads(text)
    SECTIONS[name](Settings(**{**options, "out": Path(options["out"])}))


if __name__ == "__main__":
    main(*sys.argv[1:])
