"""Builds the leaderboard from the records of image classification.

netzoo leaderboard results                              # prints the tables
netzoo leaderboard results --page docs/leaderboard.md   # renews the page and its picture

The tables replace everything after the line "## Results" of the page. The picture has the name of
the page, and is in the folder `images` beside the page.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from netzoo.cli.arguments import Parser, typed_path
from netzoo.console import say
from netzoo.errors import UserError
from netzoo.files import read_text, write_text
from netzoo.tasks.classification import leaderboard
from netzoo.tasks.classification.leaderboard import Row, Run

_HEADING = "## Results\n"


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = Parser("netzoo leaderboard", description=__doc__)
    parser.add_argument("results", type=typed_path, help="folder of records")
    parser.add_argument("--page", type=typed_path, help="Markdown file to renew")
    flags = parser.parse_args(arguments)
    if flags.page is not None and _HEADING not in read_text(flags.page):
        raise UserError(
            f"{flags.page} lacks the line {_HEADING.strip()!r}, which the tables follow"
        )
    rows = leaderboard.rows_of(leaderboard.read_runs(flags.results), multiply_adds)
    if flags.page is None:
        say(sections(rows, str(flags.results)))
        return
    write_page(rows, flags.results, flags.page)
    say(f"Wrote {flags.page}.")


def write_page(rows: Sequence[Row], results: Path, page: Path) -> None:
    """Replace the tables of the page, and draw its picture."""
    picture = page.parent / "images" / f"{page.stem}.png"
    picture.parent.mkdir(exist_ok=True)
    leaderboard.draw(rows, picture)
    shown = f"![Accuracy over cost](images/{picture.name})\n\n"
    tables = sections(rows, os.path.relpath(results, page.parent))
    head = read_text(page).partition(_HEADING)[0]
    write_text(page, f"{head}{_HEADING}\n{shown}{tables}\n")


def sections(rows: Sequence[Row], folder: str) -> str:
    """Return the tables in Markdown: one for each test split, and one apart from the protocol."""
    kept = [row for row in rows if row.first.objection is None]
    apart = [row for row in rows if row.first.objection is not None]
    parts = []
    for data in dict.fromkeys(map(_data, kept)):
        own = [row for row in kept if _data(row) == data]
        parts += [f"### {data}", leaderboard.table(own, folder)]
        if compared := leaderboard.comparisons(own):
            parts.append(compared)
    if not kept:
        parts.append("No record follows the protocol yet.")
    if apart:
        parts += ["### Apart from the protocol", leaderboard.table(apart, folder, objections=True)]
    return "\n\n".join(parts)


def _data(row: Row) -> str:
    record = row.first.record
    return f"{record['dataset']} {record['test_split']}, {record['num_examples']:,} images"


def multiply_adds(run: Run) -> int | None:
    """Return the multiply-adds of a run's network for one image.

    The result is None if the network of this version has other options or another size.
    """
    from netzoo.models import create_model
    from netzoo.models.summary import model_summary

    prefix = "model."
    options = {k.removeprefix(prefix): v for k, v in run.config.items() if k.startswith(prefix)}
    name, _ = options.pop("name"), options.pop("dtype", None)
    # Rates of dropout and drop path do not change the multiply-adds. Earlier versions had other
    # names for some of them.
    options = {key: value for key, value in options.items() if not key.endswith("_rate")}
    try:
        network = create_model(name, num_classes=len(run.evaluation["class_names"]), **options)
        summary = model_summary(network, run.record["image_size"])
    except UserError:
        return None
    return summary.macs if summary.parameters == run.record["parameters"] else None
