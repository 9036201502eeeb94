"""Computes and draws a lesson again: what a network taught, in numbers and pictures.

netzoo lesson list
netzoo lesson mobilenet_v2                  # minutes on two cores; writes lesson_mobilenet_v2/
netzoo lesson mobilenet_v2 --quick          # seconds: fewer steps, smaller networks, one seed
netzoo lesson mobilenet_v2 --redraw         # draws the saved numbers again, without training
netzoo lesson my_lesson.py                  # a lesson of your own

The folder gets numbers.npz, record.json with the claims, and every figure as PNG and SVG.
docs/lessons/README.md explains the lessons.
"""

import argparse
import functools
from collections.abc import Sequence

from ml_collections import ConfigDict

from netzoo.cli import launch
from netzoo.cli.arguments import Parser
from netzoo.config import default_config
from netzoo.console import print_table, say
from netzoo.errors import UserError, note
from netzoo.paths import user_path


def main(arguments: Sequence[str]) -> int | None:
    """Run the command line."""
    parser = Parser("netzoo lesson", description=__doc__, allow_abbrev=False)
    parser.add_argument("lesson", metavar="NAME", help="lesson, or `list`")
    parser.add_argument("--quick", action="store_true", help="take seconds; numbers are rough")
    parser.add_argument("--out", metavar="DIR", help="folder to write (default: lesson_NAME)")
    redraw = "draw the numbers in the folder again, without measuring"
    parser.add_argument("--redraw", action="store_true", help=redraw)
    source = "data to train on, such as tfds:tf_flowers (default: those of the lesson)"
    parser.add_argument("--source", metavar="SPEC", help=source)
    parser.add_argument("--data-dir", metavar="DIR", help="folder of prepared data sets of TFDS")
    page = "Markdown file; renew its last section, which has the claims"
    parser.add_argument("--page", metavar="FILE", help=page)
    make = functools.partial(_lesson, command=("netzoo", "lesson", *arguments))
    return launch.run(parser, arguments, make, read=lambda options: default_config())


def _lesson(config: ConfigDict, options: argparse.Namespace, command: Sequence[str]) -> int | None:
    del config
    from netzoo.mesh import check_devices
    from netzoo.teaching import Setting, list_lessons, load_lesson
    from netzoo.teaching.record import check_page, make, read_record, redraw, write_page

    if options.overridden:
        raise UserError("a lesson has no configuration; omit --config.KEY")
    if options.lesson == "list":
        rows = [(name, load_lesson(name).title) for name in list_lessons()]
        print_table(("lesson", "what it shows"), rows)
        return None
    lesson = load_lesson(options.lesson)
    folder = user_path(options.out or f"lesson_{lesson.name}")
    if options.page:
        check_page(user_path(options.page))
    if options.redraw:
        claims = redraw(lesson, folder)
    else:
        check_devices()
        setting = Setting(options.quick, options.source or lesson.source, options.data_dir)
        claims = make(lesson, setting, folder, command)
    say(lesson.title)
    print_table(("claim", "measured", "verdict"), claims)
    if read_record(folder)["quick"]:
        note(
            "This is the quick form: it trains too little for the verdicts and the figures' titles."
        )
    say(f"written: {folder}")
    if options.page:
        write_page(read_record(folder), user_path(options.page))
        say(f"written: {options.page}")
    return None
