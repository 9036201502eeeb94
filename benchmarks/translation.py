"""Tokens and sentences per second of the Transformer, beside PyTorch's.

python -m benchmarks.translation --peer-python ~/torch/bin/python --out results/translation_speed

Training is forward, cross-entropy with smoothed labels and without padding, backward and AdamW;
its speed is in target tokens, without padding. Decoding is greedy or a beam search with a cache.
It produces translations of `length` tokens, so that all do the same work; its speed is in
sentences. Repetitions and ratios are those of `benchmarks.throughput`.

`torch` is `torch.nn.Transformer` with the same number of parameters and the same dropout, eager
and, in training, also compiled; netzoo is compared with the faster one. It cannot decode with a
cache: `benchmarks.torch_translation_worker` does this with its weights and
`scaled_dot_product_attention`.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import report
from benchmarks.contestants import (
    ContestantError,
    compare,
    find_python,
    race,
)
from benchmarks.peers import Contestant
from benchmarks.sentences import count_tokens, draw_pairs
from benchmarks.throughput import BUSY, check_alike, command
from netzoo.models.transformer import VARIANTS

ROW = ("model", "rows", "length", "vocabulary", "mode", "beams")
KEY = (*ROW, "contestant")
SMOOTHING = 0.1

NETZOO = Contestant("netzoo", "netzoo", "benchmarks.translation_worker", ())
_TORCH = ("torch", "benchmarks.torch_translation_worker", ("torch",))
TORCH = Contestant("torch", *_TORCH)
COMPILED = Contestant("torch compiled", *_TORCH)


def rows_of(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the settings of every row; `beams` is 0 for training."""
    modes = [
        (mode, beams)
        for mode in options.mode
        for beams in (options.beams if mode == "decode" else [0])
    ]
    product = itertools.product(
        options.model, options.rows, options.length, options.vocabulary, modes
    )
    return [dict(zip(ROW, (*values, *mode), strict=True)) for *values, mode in product]


def contestants_of(settings: dict[str, Any], torch: str | None) -> dict[Contestant, str]:
    """Return the contestants of a row and their interpreters."""
    found = {NETZOO: sys.executable}
    if torch:
        found[TORCH] = torch
        if settings["mode"] == "train":  # decoding would be compiled for every length
            found[COMPILED] = torch
    return found


def measure(
    contestants: dict[Contestant, str], settings: dict[str, Any], repeats: int, steps: int
) -> list[report.Line]:
    """Run the contestants of a row alternately; return a line for each, netzoo first.

    Raises:
      ContestantError: A contestant ended, or refused the network.
      SystemExit: The numbers of parameters differ.
    """
    details = {**settings, **VARIANTS[settings["model"]]._asdict(), "smoothing": SMOOTHING}
    commands = [(c.name, command(c, python, details)) for c, python in contestants.items()]
    processes, answers = race(commands, steps, repeats, check_alike)
    count = settings["rows"]
    if settings["mode"] == "train":
        count = count_tokens(draw_pairs(count, settings["length"], settings["vocabulary"])[1])
    rates = [[count * steps / answer["seconds"] for answer in mine] for mine in answers]
    peaks = [max(answer["peak_bytes"] for answer in mine) for mine in answers]
    columns = zip(contestants, processes, compare(rates, "per_second"), peaks, strict=True)
    return [
        {
            **details,
            "contestant": contestant.name,
            "unit": "tokens" if settings["mode"] == "train" else "sentences",
            **mine,
            "compile_seconds": process.description["compile_seconds"],
            "peak_mebibytes": peak / 2**20,
            "netzoo_memory_ratio": peaks[0] / peak,
            "first_loss": process.description["losses"][0],
            "steps": steps,
            "repeats": repeats,
            "parameters": process.description["parameters"],
            **report.machine(),
            **process.description["versions"],
        }
        for contestant, process, mine, peak in columns
    ]


def fastest_peer(row: Sequence[report.Line]) -> report.Line | None:
    """Return the line that netzoo is compared with, if there is one."""
    return max(row[1:], key=lambda line: line["per_second"], default=None)


def label(settings: report.Line) -> str:
    """Return a row in a few words."""
    mode = settings["mode"] + (f" {settings['beams']}" if settings["beams"] else "")
    return "{model}, {rows} x {length}, {vocabulary}, ".format(**settings) + mode


def show(table: Sequence[Sequence[report.Line]]) -> None:
    """Print the table and the machine."""
    cells = []
    for row in table:
        best = fastest_peer(row)
        for line in row:
            first = line is row[0]
            cells.append(
                [
                    label(line) if first else "",
                    line["contestant"],
                    f"{line['per_second']:,.0f} {line['unit']}/s",
                    *report.ratio_cells(line, line is best),
                    f"{line['compile_seconds']:.1f}" if line["compile_seconds"] >= 0.05 else "-",
                    f"{line['peak_mebibytes']:,.0f}",
                    f"{line['netzoo_memory_ratio']:.2f} x" if line is best else "",
                ]
            )
    columns = ("row", "contestant", "speed", "netzoo is", "range", "compile s", "peak MiB")
    report.print_table("", (*columns, "memory"), cells, texts=2)
    report.print_machine([line for row in table for line in row])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the flags."""
    parser = report.flags("translation", __doc__, repeats=7)
    add, modes = parser.add_argument, ("train", "decode")
    names = sorted(VARIANTS)
    add(
        "--model",
        nargs="+",
        choices=names,
        default=["transformer_tiny"],
        help="names in the registry",
    )
    add("--rows", nargs="+", type=int, default=[128], help="pairs of sentences in a batch")
    add("--length", nargs="+", type=int, default=[32], help="tokens of the longest sentence")
    add("--vocabulary", nargs="+", type=int, default=[4_000], help="size of the vocabulary")
    add("--mode", nargs="+", choices=modes, default=list(modes), help="kinds of step")
    add("--beams", nargs="+", type=int, default=[1, 4], help="beam sizes of decoding")
    add("--peers", choices=("torch", ""), default="torch", help="library to compare with")
    add("--peer-python", nargs="+", default=[], help="interpreters to try for torch")
    add("--steps", type=int, default=5, help="steps per repetition")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the missing rows and print the table; return the exit status."""
    options = parse(arguments)
    if (load := os.getloadavg()[0]) > BUSY:
        report.CONSOLE.print(f"busy machine: a load of {load:.1f} slows some more than others")
    torch = None
    if options.peers:
        torch = find_python("torch", TORCH.needs, [*options.peer_python, sys.executable])
    file, table, status = report.Lines(options.out, "translation.csv", KEY), [], 0
    for settings in rows_of(options):
        contestants = contestants_of(settings, torch)
        row = [file.get([*settings.values(), c.name]) for c in contestants]
        if None in row:
            try:
                with report.CONSOLE.status(label(settings)):
                    row = measure(contestants, settings, options.repeats, options.steps)
            except ContestantError as error:
                report.CONSOLE.print(f"{label(settings)}: {error}; not measured", markup=False)
                status = 1
                continue
            file.add(row)
        table.append(row)
    if table:
        show(table)
    return status


if __name__ == "__main__":
    sys.exit(main())
