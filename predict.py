"""Classifies images, or translates sentences, with the weights of a run.

python predict.py --workdir runs/v2 photo.jpg holiday/ [--top_k 5] [--json] [--figure sheet.png]
python predict.py --workdir runs/en-de "A man is riding a horse." [--input in.txt --output out.txt]
"""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from netzoo.cli import launch

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
# Each is an option of the run's task, which has the default and may not know it.
_OPTIONS = (
    flags.DEFINE_enum(
        "checkpoint", None, ["last", "best", "average"], "Which weights (default: last)."
    ),
    flags.DEFINE_integer(
        "top_k", None, "Classes of an image (default: 3), or translations of a sentence (1).", 1
    ),
    flags.DEFINE_bool("json", None, "Print JSON."),
    flags.DEFINE_string("figure", None, "File for a figure of classes or attention, e.g. a.png."),
    flags.DEFINE_string("input", None, "Text to translate, a sentence a line; - for stdin."),
    flags.DEFINE_string("output", None, "File for translations instead of stdout."),
)


def main(config: ConfigDict, *inputs: str) -> int:
    """Predicts for images, folders of images or sentences."""
    from netzoo.tasks import predict

    options = {flag.name: flag.value for flag in _OPTIONS if flag.value is not None}
    return predict(config, Path(_WORKDIR.value), inputs, options)


if __name__ == "__main__":
    launch.run(main)
