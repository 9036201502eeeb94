"""The record of a lesson: a folder with its numbers, its claims and its figures."""

import time
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from netzoo import figures
from netzoo.console import json_text, markdown_table
from netzoo.errors import UserError
from netzoo.files import make_folder, open_regular, read_text, replacing, write_text
from netzoo.json_files import read_json
from netzoo.teaching.lesson import Claim, Lesson, Numbers, Setting
from netzoo.workdir.environment import describe_environment, shell_line

NUMBERS_FILE, RECORD_FILE = "numbers.npz", "record.json"
HEADING = "## What came out\n"
_SHAPE = {
    "lesson": str,
    "command": str,
    "quick": bool,
    "source": str,
    "seconds": float,
    "claims": [{"claim": str, "measured": str, "verdict": str}],
    "versions": {"*": str},
    "machine": {"cpu": str, "cores": int, "*": object},
}


def make(lesson: Lesson, setting: Setting, folder: Path, command: Sequence[str]) -> list[Claim]:
    """Measure a lesson, draw it, and write everything into a folder; return its claims."""
    make_folder(folder)
    began = time.monotonic()
    numbers = {name: np.asarray(value) for name, value in lesson.measure(setting).items()}
    seconds = time.monotonic() - began
    with replacing(folder / NUMBERS_FILE) as file:
        np.savez_compressed(file, allow_pickle=False, **numbers)
    environment = describe_environment({})
    record = {
        "lesson": lesson.name,
        "command": shell_line(command),
        "quick": setting.quick,
        "source": setting.source,
        "seconds": seconds,
        "claims": [],
        **{name: environment[name] for name in ("versions", "machine")},
    }
    return _judge(lesson, numbers, record, folder)


def redraw(lesson: Lesson, folder: Path) -> list[Claim]:
    """Judge and draw the numbers of a folder again; return the claims.

    Raises:
      UserError: The folder has no numbers, or those of another lesson or version.
    """
    if not (folder / RECORD_FILE).is_file():
        raise UserError(f"{folder} has no {RECORD_FILE}; run the lesson without --redraw first")
    record = read_record(folder)
    if record["lesson"] != lesson.name:
        raise UserError(f"{folder} holds the lesson {record['lesson']}, not {lesson.name}")
    numbers = read_numbers(folder)
    try:
        return _judge(lesson, numbers, record, folder)
    except KeyError as error:
        raise UserError(
            f"{folder / NUMBERS_FILE} is from another version of the lesson: it lacks {error}; run "
            "the lesson without --redraw"
        ) from None


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a folder."""
    return read_json(folder / RECORD_FILE, _SHAPE)


def read_numbers(folder: Path) -> Numbers:
    """Return the numbers of a folder.

    Raises:
      UserError: The file is missing or damaged.
    """
    path = folder / NUMBERS_FILE
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except (EOFError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read: {error}; run the lesson without --redraw"
        ) from None


def _judge(lesson: Lesson, numbers: Numbers, record: dict[str, Any], folder: Path) -> list[Claim]:
    claims = list(lesson.claims(numbers))
    record["claims"] = [claim._asdict() for claim in claims]
    for name, figure in lesson.draw(numbers).items():
        for extension in ("png", "svg"):
            figures.save(figure, folder / f"{name}.{extension}")
    write_text(folder / RECORD_FILE, json_text(record, pretty=True) + "\n")
    return claims


def check_page(page: Path) -> None:
    """Check that a page has the section that `write_page` replaces.

    Raises:
      UserError: The page lacks the heading of the section.
    """
    if HEADING not in read_text(page):
        raise UserError(f"{page} lacks the line {HEADING.strip()!r}, which the claims follow")


def write_page(record: dict[str, Any], page: Path) -> None:
    """Replace the last section of a lesson's page by the claims of its record."""
    text = read_text(page).partition(HEADING)[0]
    write_text(page, f"{text}{HEADING}\n{section(record)}\n")


def section(record: dict[str, Any]) -> str:
    """Return the claims of a record, and how they were measured, in Markdown."""
    rows = [(c["claim"], c["measured"], f"**{c['verdict']}**") for c in record["claims"]]
    table = markdown_table((("claim", False), ("measured", False), ("verdict", False)), rows)
    machine, versions = record["machine"], record["versions"]
    minutes, seconds = divmod(round(record["seconds"]), 60)
    return (
        f"{table}\n\n"
        f"`{record['command']}` took {minutes} min {seconds:02d} s on {machine['cores']} cores of "
        f"{machine['cpu']} with the data `{record['source']}` (Python {versions['python']}, jax "
        f"{versions['jax']}, flax {versions['flax']})."
    )
