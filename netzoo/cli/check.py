"""Decodes every image of a data set, and says what is in it and what is wrong with it.

netzoo check folder:photos --sheet sheet.png     # the splits of a run
netzoo check tfds:tf_flowers --splits 'train[:80%]' 'train[80%:]' --out list.csv
netzoo check folder:photos --strict              # exit status 1 if there is a problem

The command counts the images of each class and split. It lists corrupt images, and images that
occur twice, exactly or nearly, within a split or across splits. Problems are corrupt images,
duplicates across splits, and duplicates with two classes. `--config.evaluation.duplicates=list.csv`
of `netzoo eval` reports the accuracy without the duplicates too.
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from netzoo.cli.arguments import Parser, typed_path
from netzoo.cli.check_report import Report, show
from netzoo.cli.pair_sheet import pair_sheet
from netzoo.console import json_text, say
from netzoo.data.duplicates import NEAR, find_duplicates, write_pairs
from netzoo.data.examine import BITS, can_hash, check_can_hash, examine
from netzoo.data.source import Source, SourceError
from netzoo.data.sources.open import SPECS, open_source, split_sizes
from netzoo.data.splits import default_splits
from netzoo.errors import UserError, note
from netzoo.files import replacing

_MOST_DRAWN = 200


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status, 1 with `--strict` if there is a problem."""
    options = _options(arguments)
    hashing = not options.exact
    if hashing and not can_hash():
        if options.out or options.near != NEAR:
            check_can_hash()
        note(
            "near duplicates are not searched for; they need imagehash: "
            "pip install 'netzoo[duplicates]'"
        )
        hashing = False
    sources = _open(options)
    found = (examine(source, options.threads, hashing=hashing) for source in sources)
    images = [*itertools.chain.from_iterable(found)]
    report = Report(options.source, sources, images, find_duplicates(images, options.near))
    if options.json:
        say(json_text(report.values(), pretty=True))
    else:
        show(report)
    if options.out:
        write_pairs(options.out, report.pairs)
    if options.sheet:
        _draw(options.sheet, report, sources)
    return int(options.strict and report.problems > 0)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="netzoo check", description=__doc__)
    parser.add_argument("source", help=SPECS)
    splits = "TFDS split expressions (default: the training, validation and test split of a run)"
    parser.add_argument("--splits", nargs="+", help=splits)
    parser.add_argument("--data-dir", help="TFDS folder (default: ~/tensorflow_datasets)")
    near = f"bits in which two perceptual hashes may differ, of {BITS} (default: {NEAR})"
    parser.add_argument("--near", type=int, default=NEAR, help=near)
    exact = "search for identical files only, which is faster"
    parser.add_argument("--exact", action="store_true", help=exact)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--strict", action="store_true", help="exit with status 1 at a problem")
    parser.add_argument("--out", type=typed_path, help="CSV file for the pairs of duplicates")
    parser.add_argument("--sheet", type=typed_path, help="PNG file with the pairs side by side")
    options = parser.parse_args(arguments)
    if options.threads < 1 or not 0 <= options.near < BITS // 2:
        raise UserError(
            f"--threads {options.threads}, --near {options.near}; expected at least one thread, "
            f"and 0 to {BITS // 2 - 1} bits"
        )
    if options.exact and (options.out or options.near != NEAR):
        raise UserError("--exact finds identical files only; omit --exact, or --near and --out")
    return options


def _open(options: argparse.Namespace) -> list[Source]:
    """Open the splits that a run would use, or those of the command line."""
    names = options.splits
    if names is None:
        sizes = split_sizes(options.source, options.data_dir)
        if not sizes:
            raise UserError(
                f"{options.source} does not list its splits; name them: --splits SPLIT ..."
            )
        try:
            names = [split for split in default_splits(sizes) if split]
        except SourceError:  # no training split, for example
            names = [*sizes]
    return [open_source(options.source, name, options.data_dir, True) for name in names]


def _draw(path: Path, report: Report, sources: Sequence[Source]) -> None:
    sheet = Image.fromarray(pair_sheet(report.pairs[:_MOST_DRAWN], sources))
    with replacing(path, typed=True) as file:
        sheet.save(file, "PNG")
