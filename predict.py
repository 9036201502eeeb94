"""Names what is in pictures.

python predict.py --workdir runs/v2 photo.jpg holiday/ [--top_k 5] [--json] [--picture sheet.png]
"""

from pathlib import Path

from absl import flags

from netzoo import launch

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "last", ["last", "best", "average"], "Which weights.")
_TOP_K = flags.DEFINE_integer("top_k", 3, "Classes to name for each picture.", lower_bound=1)
_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of a table.")
_PICTURE = flags.DEFINE_string("picture", None, "PNG to draw pictures and classes into.")


def main(*paths: str) -> int:
    """Predicts the classes of pictures and of the pictures in folders."""
    from netzoo.inference.classify import classify

    return classify(
        flags.FLAGS.config,
        Path(_WORKDIR.value),
        paths,
        which=_CHECKPOINT.value,
        top_k=_TOP_K.value,
        as_json=_JSON.value,
        picture=_PICTURE.value,
    )


if __name__ == "__main__":
    launch.run(main, config_from_workdir=True)
