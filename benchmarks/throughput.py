"""Images per second of networks, compared with the same networks in other libraries.

python -m benchmarks.throughput --model mobilenet_v2 resnet50 --image-size 128 --batch-size 32 \
    --mode train infer --peers torch,flax --peer-python ~/torch/bin/python --out results/throughput

A row of the table is a model, an image size, a batch size and a mode. Its contestants run
alternately, each in its own process with the same environment, so that other load on the machine
affects all alike. A repetition runs every contestant once, in another order than the repetition
before, and ratios are taken within a repetition. Half of the repetitions start the processes in
the reverse order, because the order of the starts changes the speed too. With `--out`, a row is
written as soon as it is measured, and the same command again measures the missing rows.
`--versions` draws the ratios of several such folders instead.

A training step is forward, backward and AdamW on uint8 images in device memory; inference is the
forward pass and the loss. netzoo and flax start from the same parameters. The measurement stops if
their losses differ, or if a peer has a different number of parameters. `torch` is PyTorch with
contiguous images, and `torch channels_last` its other memory layout; netzoo is compared with the
faster one. Core milliseconds per image are the processor time of all threads, which includes
threads that wait in a loop. Memory is the peak of the process, including compilation, or of the
device on a GPU. MFU is the rate of the network's convolutions and matrix products divided by the
rate of a large matrix product; a training step counts as three forward passes. `setup` and `plain`
are netzoo's networks in a user's own `jax.jit`, with and without `netzoo.setup()`. `bfloat16` is
netzoo with `matmul_precision` `"bfloat16"`. `other_jax` is netzoo with another release of JAX, in
an environment that `--peer-python` names; it runs only if `--peers` has it.
"""

import argparse
import itertools
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.contestants import (
    ContestantError,
    Process,
    compare,
    find_python,
    race,
)
from benchmarks.peers import CONTESTANTS, NETZOO, PEERS, Contestant

# Relative tolerances of the first two losses. The first loss differs only by the order of sums. The
# second follows an update by Adam, which turns rounding errors of small gradients into full steps.
# In bfloat16, and with dropout, whose masks differ, losses agree only roughly.
EXACT, ALIKE = (1e-4, 1e-2), (0.2, 0.2)
# Load average above which the machine is busy. If one thread of PyTorch waits for a core, the
# others wait for the thread.
BUSY = 0.5
ROW = ("model", "image_size", "batch_size", "mode", "dtype", "remat")
KEY = (*ROW, "contestant")


def find_contestants(peers: Sequence[str], pythons: Sequence[str]) -> dict[Contestant, str]:
    """Return the contestants and their interpreters; print the peers that are left out and why."""
    found = {NETZOO: sys.executable}
    for peer in peers:
        mine = [c for c in CONTESTANTS if c.peer == peer]
        ours = mine[0].module == NETZOO.module and not mine[0].needs  # must use netzoo's libraries
        python = find_python(peer, mine[0].needs, [sys.executable] if ours else pythons)
        if python:
            found.update(dict.fromkeys(mine, python))
    return found


def command(contestant: Contestant, python: str, settings: dict[str, Any]) -> list[str]:
    """Return the command that starts a contestant."""
    text = json.dumps({**settings, "contestant": contestant.name})
    return [python, "-m", contestant.module, text]


def check_alike(processes: Sequence[Process]) -> None:
    """Stop the measurement if contestants do not compute the same.

    Raises:
      SystemExit: The numbers of parameters differ, the losses of the same network in JAX differ, or
        a loss is not a number.
    """
    first = processes[0]
    for other in processes:
        ours, theirs = (process.description for process in (first, other))
        if theirs["parameters"] != ours["parameters"]:
            sys.exit(
                f"error: {other.name} has {theirs['parameters']:,} parameters and {first.name} "
                f"{ours['parameters']:,}; expected the same network"
            )
        if not all(map(math.isfinite, theirs["losses"])):
            sys.exit(f"error: the losses of {other.name} are {theirs['losses']}")
        # Only these contestants start from netzoo's initial values.
        if other.name not in ("flax", "setup", "plain", "bfloat16", "other_jax"):
            continue
        tolerances = EXACT if ours["exact"] and other.name != "bfloat16" else ALIKE
        pairs = zip(ours["losses"], theirs["losses"], tolerances, strict=True)
        for step, (a, b, tolerance) in enumerate(pairs, start=1):
            if not abs(a - b) <= tolerance * abs(a):
                sys.exit(
                    f"error: loss {step} is {a} for {first.name} and {b} for {other.name}; "
                    f"expected them to agree to {tolerance}, relative"
                )


def measure(
    contestants: dict[Contestant, str], settings: dict[str, Any], repeats: int, steps: int
) -> list[report.Line]:
    """Run the contestants of a row alternately.

    Returns:
      A line for each contestant, netzoo first.

    Raises:
      ContestantError: A contestant refused the network or ended, e.g. for lack of memory.
      SystemExit: The contestants do not compute the same.
    """
    commands = [(c.name, command(c, python, settings)) for c, python in contestants.items()]
    processes, answers = race(commands, steps, repeats, check_alike)
    return lines_of(contestants, processes, answers, settings, steps)


def lines_of(
    contestants: Iterable[Contestant],
    processes: Sequence[Process],
    answers: Sequence[Sequence[dict[str, float]]],
    settings: dict[str, Any],
    steps: int,
) -> list[report.Line]:
    """Return a line for each contestant of a row, from the answers of its process."""
    images = settings["batch_size"] * steps
    rates = [[images / answer["seconds"] for answer in mine] for mine in answers]
    core = [statistics.median(answer["core_seconds"] / images for answer in m) for m in answers]
    peaks = [max(answer["peak_bytes"] for answer in mine) for mine in answers]
    ours = processes[0].description
    # Operations of the convolutions and products for one image.
    work = 2 * ours["macs"] * (3 if settings["mode"] == "train" else 1)
    columns = zip(contestants, processes, compare(rates), core, peaks, strict=True)
    return [
        {
            **settings,
            "contestant": contestant.name,
            "peer": contestant.peer,
            **mine,
            "core_seconds_per_image": core_seconds,
            "compile_seconds": process.description["compile_seconds"],
            "peak_mebibytes": peak / 2**20,
            "netzoo_memory_ratio": peaks[0] / peak,
            "mfu": work * mine["images_per_second"] / ours["peak_flops"],
            "peak_gflops": ours["peak_flops"] / 1e9,
            "first_loss": process.description["losses"][0],
            "steps": steps,
            "repeats": len(answers[0]),
            "parameters": ours["parameters"],
            "macs": ours["macs"],
            **report.machine(),
            **process.description["versions"],
        }
        for contestant, process, mine, core_seconds, peak in columns
    ]


def compared(lines: Sequence[report.Line]) -> list[report.Line]:
    """Return the line of the fastest contestant of every row and peer, without netzoo."""
    best: dict[tuple, report.Line] = {}
    for line in lines:
        key = (*(line[name] for name in ROW), line["peer"])
        if key not in best or line["images_per_second"] > best[key]["images_per_second"]:
            best[key] = line
    return [line for line in best.values() if line["peer"] != NETZOO.peer]


def means(lines: Sequence[report.Line]) -> list[tuple[str, str, int, float, float]]:
    """Return mode, peer, number of rows, and geometric means of the ratios of speed and memory."""
    groups: dict[tuple[str, str], list[report.Line]] = {}
    for line in compared(lines):
        groups.setdefault((line["mode"], line["peer"]), []).append(line)
    names = ("netzoo_ratio", "netzoo_memory_ratio")
    return [
        (*key, len(group), *(statistics.geometric_mean([x[name] for x in group]) for name in names))
        for key, group in groups.items()
    ]


def summary(lines: Sequence[report.Line]) -> str:
    """Return a row in a few words."""
    peers = (f"{line['netzoo_ratio']:.2f} x {line['peer']}" for line in compared(lines))
    return ", ".join([f"netzoo {lines[0]['images_per_second']:.1f} img/s", *peers])


def show(lines: Sequence[report.Line]) -> None:
    """Print the table, the means, and what it was measured on."""
    best, cells, last = compared(lines), [], None
    for line in lines:
        row = [str(line[name]) for name in ("model", "image_size", "batch_size", "mode")]
        against = line in best
        cells.append(
            [
                *([""] * 4 if row == last else row),
                line["contestant"],
                f"{line['images_per_second']:.1f}",
                *report.ratio_cells(line, against),
                # Files of earlier versions lack this column.
                f"{1000 * core:.2f}" if (core := line.get("core_seconds_per_image")) else "-",
                f"{line['compile_seconds']:.1f}" if line["compile_seconds"] >= 0.05 else "-",
                f"{line['peak_mebibytes']:,.0f}",
                f"{line['netzoo_memory_ratio']:.2f} x" if against else "",
                f"{100 * line['mfu']:.0f} %",
            ]
        )
        last = row
    columns = "model,px,batch,mode,contestant,img/s,netzoo is,range,core ms/img,compile s,peak MiB"
    report.print_table("", [*columns.split(","), "memory", "MFU"], cells, texts=5)
    report.print_machine(lines)
    for mode, peer, count, speed, memory in means(lines):
        report.CONSOLE.print(
            f"{mode}: netzoo is {speed:.2f} x {peer} and takes {memory:.2f} x its memory "
            f"(geometric means of {count} rows)"
        )


def draw(lines: Sequence[report.Line], folder: Path) -> None:
    """Plot rates by image size or batch size, ratios to peers, or step times without peers."""
    varied = [name for name in ROW if len({line[name] for line in lines}) > 1]
    from benchmarks import pictures  # matplotlib takes a second to load

    path = folder / "throughput.png"
    alone = len({line["contestant"] for line in lines}) == 1
    # One curve per contestant of a single model, or per model of a single contestant.
    by = "model" if alone and "model" in varied else "contestant"
    swept = [name for name in varied if name not in ("mode", by)]
    if swept in (["image_size"], ["batch_size"]):
        pictures.draw_sweep(lines, swept[0], by, path)
        return
    if alone:
        pictures.draw_steps(lines, path)
        return
    if found := compared(lines):
        pictures.draw_ratios(found, path)


def draw_versions(folders: Sequence[Path], peer: str, path: Path) -> None:
    """Plot netzoo's ratios to a peer over earlier tables; a folder is named after its version.

    Raises:
      SystemExit: A folder has no table, or no table has the peer.
    """
    lines = []
    for folder in folders:
        mine = report.Lines(folder, "throughput.csv", KEY).all()
        if not mine:
            sys.exit(f"error: {folder} has no throughput.csv; --versions names folders of --out")
        lines += [{**x, "version": folder.name} for x in compared(mine) if x["peer"] == peer]
    if not lines:
        sys.exit(f"error: no table compares netzoo with {peer}; name another one with --peers")
    from benchmarks import pictures  # matplotlib takes a second to load

    path.parent.mkdir(parents=True, exist_ok=True)
    pictures.draw_versions(lines, peer, path)
    report.CONSOLE.print(f"wrote {path}", markup=False)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = report.flags("throughput", __doc__, repeats=8)
    add, modes = parser.add_argument, ("train", "infer")
    add("--model", nargs="+", default=["mobilenet_v2"], help="names in the registry")
    add("--image-size", nargs="+", type=int, default=[128], help="pixels, both sides")
    add("--batch-size", nargs="+", type=int, default=[32], help="images per step")
    add("--mode", nargs="+", choices=modes, default=list(modes), help="kinds of step")
    peers = ",".join(peer for peer in PEERS if peer != "other_jax")
    add("--peers", default=peers, help="libraries to compare with, separated by commas")
    add("--peer-python", nargs="+", default=[], help="interpreters to try for peers")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="compute type")
    add("--remat", action="store_true", help="netzoo and flax recompute activations in training")
    add("--steps", type=int, default=5, help="steps per repetition")
    help_text = "measure nothing; draw the ratios to the first peer in these earlier --out folders"
    add("--versions", nargs="+", type=Path, metavar="FOLDER", help=help_text)
    options = parser.parse_args(arguments)
    options.peers = [peer for peer in options.peers.split(",") if peer]
    for peer in options.peers:
        if peer not in PEERS:
            parser.error(f"unknown peer {peer!r}; expected some of {','.join(PEERS)}")
    if options.versions and not (options.peers and options.out):
        parser.error("--versions needs a peer in --peers, and --out for versions.png")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the missing rows and print the table; return the exit status."""
    options = parse(arguments)
    if options.versions:
        draw_versions(options.versions, options.peers[0], options.out / "versions.png")
        return 0
    if (load := os.getloadavg()[0]) > BUSY:
        report.CONSOLE.print(f"busy machine: a load of {load:.1f} slows some more than others")
    everyone = find_contestants(options.peers, [*options.peer_python, sys.executable])
    file = report.Lines(options.out, "throughput.csv", KEY)
    product = list(
        itertools.product(options.model, options.image_size, options.batch_size, options.mode)
    )
    lines, status = [], 0
    for number, values in enumerate(product, start=1):
        settings = dict(zip(ROW, (*values, options.dtype, int(options.remat)), strict=True))
        name = "{} {} px, batch {}, {}".format(*values)
        label = f"[{number}/{len(product)}] {name}"
        contestants = {
            c: python
            for c, python in everyone.items()
            if c.has(settings["model"], settings["image_size"])
        }
        for peer in dict.fromkeys(c.peer for c in everyone if c not in contestants):
            report.CONSOLE.print(f"{label}: {peer} has no such network", markup=False)
        row = [file.get([*settings.values(), c.name]) for c in contestants]
        began = time.monotonic()
        if None in row:
            try:
                with report.CONSOLE.status(name):
                    row = measure(contestants, settings, options.repeats, options.steps)
            except ContestantError as error:
                report.CONSOLE.print(f"{label}: {error}; not measured", markup=False)
                status = 1
                continue
            file.add(row)
        took = time.monotonic() - began
        report.CONSOLE.print(f"{label}: {summary(row)} ({took:.0f} s)", markup=False)
        lines += row
    if lines:
        show(lines)
        if options.out:
            draw(file.all(), options.out)
    return status


if __name__ == "__main__":
    sys.exit(main())
