"""Names what is in images, or translates sentences, with the weights of a run.

python predict.py --workdir runs/v2 photo.jpg holiday/ [--top_k 5] [--json] [--figure sheet.png]
python predict.py --workdir runs/en-de "A man is riding a horse." [--input in.txt --output out.txt]
"""

from pathlib import Path

from absl import flags

from netzoo.cli import launch

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_CHECKPOINT = flags.DEFINE_enum("checkpoint", "last", ["last", "best", "average"], "Which weights.")
_TOP_K = flags.DEFINE_integer(
    "top_k", None, "Classes of each image (3), or translations of each sentence (1).", 1
)
_JSON = flags.DEFINE_bool("json", False, "Print JSON.")
_FIGURE = flags.DEFINE_string(
    "figure", None, "PNG of images and classes, or of where the decoder looked."
)
_INPUT = flags.DEFINE_string("input", None, "Text to translate, a sentence a line; - for stdin.")
_OUTPUT = flags.DEFINE_string("output", None, "Where translations go instead of stdout.")


def main(*arguments: str) -> int:
    """Predicts for the images, folders of images or sentences."""
    from netzoo.errors import UserError
    from netzoo.tasks.classification.predict import classify
    from netzoo.tasks.translation.predict import translate

    config, workdir = flags.FLAGS.config, Path(_WORKDIR.value)
    options = {"which": _CHECKPOINT.value, "as_json": _JSON.value, "figure": _FIGURE.value}
    if config.task == "translation":
        files = {"input_file": _INPUT.value, "output_file": _OUTPUT.value}
        best = _TOP_K.value or 1
        return translate(config, workdir, arguments, n_best=best, **files, **options)
    if _INPUT.value or _OUTPUT.value:
        raise UserError(f"--input and --output are for translation; {workdir} is of {config.task}")
    return classify(config, workdir, arguments, top_k=_TOP_K.value or 3, **options)


if __name__ == "__main__":
    launch.run(main, config_from_workdir=True)
