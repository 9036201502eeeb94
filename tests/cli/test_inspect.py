"""`netzoo inspect`: figures, arrays, layers and errors, without training a network."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from netzoo.cli import inspect as command
from netzoo.cli.main import main
from netzoo.config import save_config
from netzoo.inspection import kinds
from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from netzoo.tasks.classification.predictor import Predictor
from tests.conftest import fast_only, tiny_config, tiny_translation_config
from tests.inspection.small import (
    CLASSES,
    PREPROCESSING,
    small_images,
    small_predictor,
    vit_predictor,
)


@pytest.fixture(scope="module")
def networks():
    return {"conv": small_predictor(), "vit": vit_predictor()}


@pytest.fixture
def place(networks, tmp_path, monkeypatch):
    """The folder of a run, with images; the network is small."""
    save_config(tiny_config(tmp_path / "photos"), tmp_path)
    (tmp_path / "photos").mkdir()
    for index, image in enumerate(small_images(2)):
        Image.fromarray(image).save(tmp_path / "photos" / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Predictor, "from_run", lambda *args: networks["conv"])
    monkeypatch.setattr(Predictor, "from_weights", lambda *args: networks["vit"])
    return tmp_path


CONV, VIT = ("--workdir", "."), ("--weights", "some_vit")
DRAWN = {
    "grad-cam": CONV,
    "grad-cam++": CONV,
    "integrated-gradients": CONV,
    "occlusion": CONV,
    "curves": VIT,
    "attention": VIT,
    "heads": VIT,
    "feature-maps": CONV,
    "activations": VIT,
    "kernels": CONV,
    "position-embedding": VIT,
    "batch-norm": CONV,
}


def test_every_kind_is_described_and_drawn_here():
    assert list(command.KINDS) == list(kinds.KINDS) == list(DRAWN)


@pytest.fixture
def trained(monkeypatch):
    """Give the run a network with BatchNorm."""
    model, rng = create_model("mobilenet_v1_025", 3), np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.random(leaf.shape, np.float32) + 0.5, variable_shapes(model, 32)
    )
    monkeypatch.setattr("netzoo.tasks.task.create_network", lambda *args: model)
    monkeypatch.setattr(
        "netzoo.workdir.checkpoint.restore_variables", lambda *args: (1, "params", variables)
    )
    predictor = Predictor(model, variables, PREPROCESSING.at(32), CLASSES)
    monkeypatch.setattr(Predictor, "from_run", lambda *args: predictor)


@pytest.mark.parametrize("kind", fast_only(DRAWN, ("grad-cam", "occlusion")))
def test_draws_every_kind(kind, place, capsys, request):
    """The figure has the name of the kind; the arrays have names."""
    if kind in ("kernels", "batch-norm"):
        request.getfixturevalue("trained")
    images = ["photos"] if kinds.KINDS[kind].draws_images else []
    assert main(["inspect", kind, *images, *DRAWN[kind], "--arrays", "a.npz"]) == 0
    figure = np.asarray(Image.open(place / f"{kind}.png"))
    assert figure.std() > 10  # not blank
    with np.load(place / "a.npz") as arrays:
        assert all(np.isfinite(arrays[name]).all() for name in arrays)
        shapes = [f"{name} {list(arrays[name].shape)}" for name in arrays]
    out = capsys.readouterr().out
    assert f"written: {place}/{kind}.png" in out.replace("\n", "") or f"written: {kind}.png" in out
    assert f"with {', '.join(shapes)}" in out


def test_lists_layers(place, capsys):
    assert main(["inspect", "grad-cam", *CONV, "--layer", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "default" in line] == [
        line for line in lines if "stage1/block1" in line and "6 x 6 x 8" in line
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gradcam", *CONV], "unknown kind 'gradcam'; did you mean grad-cam"),
        (["grad-cam"], "give either --workdir DIR, the folder of a run, or --weights NAME"),
        (["grad-cam", *CONV], "grad-cam needs images; pass images, or folders of images"),
        (["heads", *CONV, "photos"], "has no heads; kinds for this network: grad-cam, grad-cam++"),
        (["grad-cam", *CONV, "config.json"], "Cannot decode config.json"),
        (["grad-cam", *CONV, "photos", "--class", "rose"], "did you mean roses?"),
        (["kernels", *VIT, "--config.data.image_size=32"], "not of --weights"),
        (["activations", *CONV, "photos", "--class", "roses"], "not depend on a class; omit it"),
        (["occlusion", *CONV, "photos", "--layer", "stem"], "not depend on a layer; omit it"),
        (["kernels", *CONV, "photos/0.png"], "kernels draws the weights and does not depend on"),
        (["position-embedding", *VIT, "photos"], "does not depend on images; omit them"),
        (["grad-cam", *CONV, "photos", "--figure", "a.pgn"], "expected a figure's extension"),
        (["grad-cam", *CONV, "photos", "--arrays", "a.csv"], "expected a name that ends with .npz"),
    ],
)
def test_errors(arguments, message, place, capsys):
    """One message says what to do, and nothing is written."""
    assert main(["inspect", *arguments]) == 1
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not list(place.glob("*.png")) + list(place.glob("*.npz"))


def test_a_figure_does_not_replace_an_input(place, capsys):
    """A photograph is lost if its own name is given for the figure."""
    before = (place / "photos" / "0.png").read_bytes()
    for images in ("photos", "photos/0.png"):
        assert main(["inspect", "grad-cam", images, *CONV, "--figure", "photos/0.png"]) == 1
        assert "is an input and would be replaced" in capsys.readouterr().err.replace("\n", " ")
    assert (place / "photos" / "0.png").read_bytes() == before


def test_the_modules_of_a_run_are_imported(place, capsys):
    """A run may have a network of the user's own."""
    config = tiny_config(place / "photos")
    config.modules = ("absent_module",)
    save_config(config, place)
    assert main(["inspect", "grad-cam", "photos", *CONV]) == 1
    assert "absent_module" in capsys.readouterr().err


def test_names_with_line_ends_are_drawn(place):
    """A name is one line of a caption, whatever it holds."""
    (place / "photos" / "0.png").rename(place / "photos" / "a\nb\x1b[31m$x^2$.png")
    assert main(["inspect", "grad-cam", "photos", *CONV]) == 0


def test_translations_are_drawn_by_predict(place, monkeypatch, capsys):
    """A run on text has one kind, which is the figure of `netzoo predict`."""
    save_config(tiny_translation_config(), place)
    calls = []
    monkeypatch.setattr("netzoo.tasks.predict", lambda *args: calls.append(args[2:]) or 0)
    assert main(["inspect", "attention", *CONV, "A man.", "--figure", "a.png"]) == 0
    [(inputs, options)] = calls
    assert inputs == ["A man."] and options["figure"].endswith("a.png")
    assert main(["inspect", "grad-cam", *CONV, "A man."]) == 1
    assert "reads text; kinds for this network: attention and heads" in capsys.readouterr().err


class Heads:
    """Stands in for a Translator of two heads."""

    def translate(self, sentences, description):
        return [[SimpleNamespace(text="Ein Mann.")] for _ in sentences], 0.0

    def attention_heads(self, sentence, hypothesis):
        if not sentence:
            return None
        return ["A", "man", "."], ["Ein", "Mann", "."], np.stack([np.eye(3), np.ones((3, 3)) / 3])


def test_heads_of_a_translation(place, monkeypatch, capsys):
    """Each head has a panel and an array; the translation is printed."""
    save_config(tiny_translation_config(), place)
    monkeypatch.setattr("netzoo.tasks.translation.predict.load", lambda *args: Heads())
    assert main(["inspect", "heads", *CONV, "A man.", "--arrays", "a.npz"]) == 0
    out = capsys.readouterr().out
    assert "Ein Mann." in out and "heads [2, 3, 3]" in out
    assert np.asarray(Image.open(place / "heads.png")).std() > 10
    for sentences, message in (([""], "expected a sentence of 1 to"), ([], "one sentence, got 0")):
        assert main(["inspect", "heads", *CONV, *sentences]) == 1
        assert message in capsys.readouterr().err
