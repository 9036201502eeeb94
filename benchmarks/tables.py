"""The tables of docs/performance.md, from the results of `benchmarks.throughput`.

python -m benchmarks.tables results/throughput_epyc

Ratios are netzoo's rate divided by that of a peer: the median over the repetitions, and in brackets
the range. Rates, memory and MFU are compared with the first peer of the file.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.peers import NETZOO
from benchmarks.throughput import KEY, compared


def table(lines: Sequence[report.Line]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a table; the last row has geometric means.

    Args:
      lines: Lines of `throughput.csv` with one mode, image size and batch size.
    """
    ours = {line["model"]: line for line in lines if line["peer"] == NETZOO.peer}
    against = {(line["model"], line["peer"]): line for line in compared(lines)}
    first, *others = dict.fromkeys(peer for _, peer in against)
    names = [peer_name(next(x for x in lines if x["peer"] == peer)) for peer in others]
    head = ["network", "netzoo", first, "ratio", *names, f"memory / {first}", "MFU, %"]
    rows = []
    for model, line in ours.items():
        best = against[model, first]
        rows.append(
            [
                model,
                f"{line['images_per_second']:.1f}",
                f"{best['images_per_second']:.1f}",
                *(ratio_text(against[model, peer]) for peer in (first, *others)),
                f"{best['netzoo_memory_ratio']:.2f}",
                f"{100 * line['mfu']:.0f} / {100 * best['mfu']:.0f}",
            ]
        )
    columns = [(peer, "netzoo_ratio") for peer in (first, *others)]
    means = [
        statistics.geometric_mean(against[model, peer][name] for model in ours)
        for peer, name in [*columns, (first, "netzoo_memory_ratio")]
    ]
    return head, [*rows, ["geometric mean", "", "", *(f"{mean:.2f}" for mean in means), ""]]


def peer_name(line: report.Line) -> str:
    """Return the name of a peer at the head of its column of ratios."""
    if line["peer"] == "other_jax":
        return f"JAX {line['jax']}"
    return "`netzoo.setup()`" if line["peer"] == "setup" else line["peer"]


def ratio_text(line: report.Line) -> str:
    """Return netzoo's ratio and its range."""
    low, high = line["netzoo_ratio_low"], line["netzoo_ratio_high"]
    return f"{line['netzoo_ratio']:.2f} ({low:.2f} to {high:.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each mode, image size and batch size of a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tables", description=__doc__.split("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="an --out folder of benchmarks.throughput")
    folder = parser.parse_args(arguments).folder
    lines = report.Lines(folder, "throughput.csv", KEY).all()
    if not lines:
        parser.error(f"{folder} has no throughput.csv")
    groups: dict[tuple[str, int, int], list[report.Line]] = {}
    for line in lines:
        key = (line["mode"], line["image_size"], line["batch_size"])
        groups.setdefault(key, []).append(line)
    for (mode, pixels, batch), group in groups.items():
        print(
            f"{report.MODES[mode].capitalize()}, {pixels} px, batch {batch}, images per second:\n"
        )
        report.print_markdown(*table(group))
        print()


if __name__ == "__main__":
    main()
