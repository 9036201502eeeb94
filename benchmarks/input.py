"""Images per second of the input pipelines, from JPEG to batches, without a network.

python -m benchmarks.input --peer-python ~/tensorflow/bin/python --out results/input

It compares netzoo's training pipeline to tf.data, on all cores and for each kind of cache. tf.data
decodes only the crop of an image. The images are those of tf_flowers or, if that is not prepared,
synthetic flowers. For each kind of cache, the contestants run alternately. Milliseconds are CPU
time per image over all threads, on which other load of the machine has less influence.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.contestants import compare, find_python, race
from netzoo.data import open_source
from netzoo.data.sources.tfds import find_builder

CACHES = ("none", "encoded", "decoded")
KEY = ("source", "image_size", "batch_size", "cache", "pipeline")


def find_source(data_dir: str | None) -> tuple[str, str]:
    """Return source and split: the real flowers, or else synthetic ones, with a line about it."""
    if find_builder("tf_flowers", data_dir).info.splits:
        return "tfds:tf_flowers", "train[:80%]"
    report.CONSOLE.print(
        "tf_flowers is not prepared (see docs/data.md); synthetic flowers are used instead"
    )
    return "synthetic_flowers", "train"


def measure(
    pythons: dict[str, str], settings: dict[str, Any], repeats: int, batches: int
) -> list[report.Line]:
    """Run the pipelines alternately with one kind of cache; return a line for each."""
    commands = [
        (
            name,
            [python, "-m", "benchmarks.input_worker", json.dumps({**settings, "pipeline": name})],
        )
        for name, python in pythons.items()
    ]
    processes, answers = race(commands, batches, repeats)
    images = settings["batch_size"] * batches
    rates = [[images / answer["seconds"] for answer in mine] for mine in answers]
    costs = [
        statistics.median(1000 * answer["processor_seconds"] / images for answer in mine)
        for mine in answers
    ]
    shown = {name: settings[name] for name in KEY[:-1]}
    return [
        {
            **shown,
            "pipeline": process.name,
            **mine,
            "processor_ms": cost,
            "repeats": repeats,
            "batches": batches,
            **report.machine(),
            **process.description,
        }
        for process, mine, cost in zip(processes, compare(rates), costs, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = report.flags("input", __doc__, repeats=5)
    parser.add_argument("--data-dir", help="folder of TFDS; by default ~/tensorflow_datasets")
    parser.add_argument("--image-size", type=int, default=224, help="pixels, both sides")
    parser.add_argument("--batch-size", type=int, default=32, help="images per batch")
    parser.add_argument("--batches", type=int, default=50, help="batches per repetition")
    parser.add_argument("--cache", nargs="+", choices=CACHES, default=list(CACHES), help="kinds")
    parser.add_argument("--peer-python", nargs="+", default=[], help="interpreters with tensorflow")
    options = parser.parse_args(arguments)
    pythons = {"netzoo": sys.executable}
    peer = find_python("tf.data", ["tensorflow"], [*options.peer_python, sys.executable])
    if peer:
        pythons["tf.data"] = peer
    spec, split = find_source(options.data_dir)
    file, lines = report.Lines(options.out, "input.csv", KEY), []
    with tempfile.TemporaryDirectory() as folder:
        if peer:
            source = open_source(spec, split, options.data_dir)
            for index in range(len(source)):
                Path(folder, f"{index:06d}.jpg").write_bytes(source[index]["image"])
        for cache in options.cache:
            settings = {
                "source": spec,
                "split": split,
                "image_size": options.image_size,
                "batch_size": options.batch_size,
                "cache": cache,
                "data_dir": options.data_dir,
                "files": folder,
            }
            lines += measure(pythons, settings, options.repeats, options.batches)
            file.add(lines)
    show(lines)


def show(lines: Sequence[report.Line]) -> None:
    """Print the table."""
    rows = [
        [
            line["cache"] if line["pipeline"] == "netzoo" else "",
            line["pipeline"],
            f"{line['images_per_second']:,.0f}",
            f"{line['slowest']:,.0f}..{line['fastest']:,.0f}",
            f"{line['processor_ms']:.2f}",
            *report.ratio_cells(line, line["pipeline"] != "netzoo"),
        ]
        for line in lines
    ]
    title = "{source}, {image_size} px, batches of {batch_size}"
    columns = ("cache", "pipeline", "img/s", "range", "ms/img", "netzoo is", "range")
    report.print_table(title.format(**lines[0]), columns, rows, texts=2)
    report.print_machine(lines)


if __name__ == "__main__":
    main()
