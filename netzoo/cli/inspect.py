"""Looks inside a network: draws where it looks and what its layers compute.

netzoo inspect grad-cam --workdir runs/v2 photo.jpg [--class roses] [--layer stage5/block3]
netzoo inspect attention --weights vit_b16.augreg_in21k_ft_in1k photo.jpg --arrays attention.npz
netzoo inspect grad-cam --workdir runs/v2 --layer list
netzoo inspect attention --workdir runs/en-de "A man is riding a horse."

The figure is written to KIND.png, or to --figure. docs/inspection.md describes all kinds.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from netzoo import figures
from netzoo.cli import launch
from netzoo.config import default_config, load_config
from netzoo.console import print_table, say
from netzoo.errors import UserError, unknown_name
from netzoo.figures import check_format
from netzoo.files import replacing
from netzoo.paths import run_path, user_path
from netzoo.progress import track
from netzoo.workdir import WEIGHTS
from netzoo.workdir.outputs import check_apart, check_writable

if TYPE_CHECKING:
    from netzoo.inspection.kinds import Subject

MOST_IMAGES = 100
# `netzoo.inspection.kinds` draws them; it imports JAX.
KINDS = {
    "grad-cam": "regions that increase the logit of a class (Grad-CAM)",
    "grad-cam++": "Grad-CAM++, which shows more of several objects of a class",
    "integrated-gradients": "pixels that contribute to the logit of a class",
    "occlusion": "regions whose occlusion lowers the probability of a class",
    "curves": "how well maps order the pixels (deletion and insertion)",
    "attention": "patches behind the class token (attention rollout); words of a translation",
    "heads": "the attention of each head of a block",
    "feature-maps": "the channels of a layer that vary most over an image",
    "activations": "histograms of the activations by depth",
    "kernels": "the kernels of the first layer",
    "position-embedding": "similarity of the position embeddings of patches",
    "batch-norm": "statistics and parameters of BatchNorm by depth",
}
_TEXT_KINDS = ("attention", "heads")  # for networks on text


def main(arguments: Sequence[str]) -> int | None:
    """Run the command line."""
    listed = "".join(f"\n  {name:<22} {meaning}" for name, meaning in KINDS.items())
    parser = launch.parser("inspect", __doc__, epilog=f"kinds:{listed}", needs_workdir=False)
    parser.add_argument("kind", metavar="KIND", help="what to draw; see below")
    parser.add_argument("inputs", nargs="*", help="images, folders of images, or sentences")
    which = "weights of the run (default: last)"
    parser.add_argument("--checkpoint", choices=WEIGHTS, default="last", help=which)
    weights = "published name or file of weights, instead of --workdir"
    parser.add_argument("--weights", metavar="NAME", help=weights)
    parser.add_argument("--model", help="network, for a file of weights that does not name it")
    layer = "endpoint to look at; `list` prints all of them"
    parser.add_argument("--layer", metavar="NAME", help=layer)
    label = "class to explain (default: the most probable class of each image)"
    parser.add_argument("--class", dest="class_name", metavar="NAME", help=label)
    parser.add_argument("--figure", metavar="FILE", help="figure to write (default: KIND.png)")
    parser.add_argument("--arrays", metavar="FILE", help="file for the arrays, e.g. maps.npz")
    return launch.run(parser, arguments, _inspect, read=_config_of)


def _config_of(options: argparse.Namespace) -> ConfigDict:
    if options.kind not in KINDS:
        raise unknown_name("kind", options.kind, KINDS)
    if (options.workdir is None) == (options.weights is None):
        raise UserError("give either --workdir DIR, the folder of a run, or --weights NAME")
    return default_config() if options.workdir is None else load_config(options.workdir)


def _inspect(config: ConfigDict, options: argparse.Namespace) -> int | None:
    from netzoo.inspection.kinds import inspect
    from netzoo.mesh import check_devices
    from netzoo.models import model_entry
    from netzoo.tasks import run_config

    figure = str(user_path(options.figure or f"{options.kind}.png"))
    arrays = options.arrays and str(user_path(options.arrays))
    check_writable(figure, arrays)
    check_format(figure)
    if arrays and not arrays.endswith(".npz"):
        raise UserError(f"--arrays {arrays}; expected a name that ends with .npz")
    if options.weights:
        launch.refuse_overrides(options)
    check_devices()
    if options.workdir:
        resolved = run_config(run_path(options.workdir), config)  # imports the run's modules
        if not model_entry(resolved.model.name).image_size:
            return _inspect_text(config, options, figure)
    files = _files(options)
    check_apart((figure, arrays), files)
    subject = _subject(config, options)
    if options.layer == "list":
        _list_layers(subject)
        return None
    images = [subject.predictor.preprocess(path) for path in track(files, "reading images")]
    subject = subject._replace(images=images, names=[path.name for path in files])
    found = inspect(options.kind, subject)
    figures.save(found.figure, figure)
    say(f"written: {figure}")
    _save(arrays, found.arrays)
    return None


def _inspect_text(config: ConfigDict, options: argparse.Namespace, figure: str) -> int:
    """Translate sentences and draw the cross-attention; `netzoo predict --figure` draws its mean.

    Returns:
      The exit status.
    """
    from netzoo.tasks import predict, run_config
    from netzoo.tasks.translation.figures import MOST_PIECES, attention_figure
    from netzoo.tasks.translation.predict import load

    name, workdir = config.model.name, run_path(options.workdir)
    if options.kind not in _TEXT_KINDS:
        kinds = " and ".join(_TEXT_KINDS)
        raise UserError(f"{name} reads text; kinds for this network: {kinds}")
    for option, value in (("layer", options.layer), ("class", options.class_name)):
        if value is not None:
            raise UserError(f"--{option} is not an option for a network on text; omit it")
    if options.kind == "attention":
        if options.arrays:
            raise UserError("--arrays is not an option of attention on text; use the kind heads")
        given = {"checkpoint": options.checkpoint, "figure": figure}
        return predict(config, workdir, options.inputs, given)
    if len(options.inputs) != 1:
        raise UserError(f"heads needs one sentence, got {len(options.inputs)}")
    translator = load(run_config(workdir, config), workdir, options.checkpoint)
    [[best, *_]], _ = translator.translate(options.inputs, "translating")
    if (found := translator.attention_heads(options.inputs[0], best)) is None:
        raise UserError(f"expected a sentence of 1 to {MOST_PIECES - 1} tokens; pass another one")
    say(best.text)
    source, target, weights = found
    examples = [(source, target, head) for head in weights]
    attention_figure(examples, figure, f"{name}: heads of the last block, in rows")
    say(f"written: {figure}")
    _save(options.arrays, {"heads": weights, "source": source, "target": target})
    return 0


def _save(path: str | None, arrays: Mapping[str, Any]) -> None:
    """Write arrays, if there is a path."""
    if path is None:
        return
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    with replacing(user_path(path)) as file:
        np.savez_compressed(file, **arrays)
    shapes = (f"{name} {list(value.shape)}" for name, value in arrays.items())
    say(f"written: {path} with {', '.join(shapes)}")


def _subject(config: ConfigDict, options: argparse.Namespace) -> "Subject":
    """Load the network."""
    from netzoo.inspection.kinds import Subject
    from netzoo.tasks import run_config
    from netzoo.tasks.classification.predictor import Predictor
    from netzoo.tasks.task import create_network
    from netzoo.weights import load
    from netzoo.workdir.checkpoint import restore_variables

    if options.workdir:
        title, which = config.model.name, options.checkpoint
        predictor = Predictor.from_run(options.workdir, which, config)

        def trained():
            resolved = run_config(run_path(options.workdir), config)
            network = create_network(resolved, len(predictor.class_names))
            return network, restore_variables(run_path(options.workdir), which)[2]
    else:
        title = Path(options.weights).name
        predictor = Predictor.from_weights(options.weights, options.model)

        def trained():
            return load(options.weights, options.model)[:2]

    return Subject(title, predictor, trained, options.class_name, options.layer)


def _files(options: argparse.Namespace) -> list[Path]:
    """Return the files of the images."""
    from netzoo.tasks.classification.prediction_inputs import find_images

    files = find_images(options.inputs) if options.inputs else []
    if len(files) > MOST_IMAGES:
        raise UserError(f"expected at most {MOST_IMAGES} images, got {len(files):,}; pass fewer")
    return files


def _list_layers(subject: "Subject") -> None:
    from netzoo.inspection import default_layer, layers_of

    layers = layers_of(subject.predictor)
    default = default_layer(layers).name
    rows = (
        (layer.name, " x ".join(map(str, layer.shape)), "default" * (layer.name == default))
        for layer in layers
    )
    print_table(("layer", "shape", "of grad-cam"), rows)
