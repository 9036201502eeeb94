"""Options and preprocessing of weights, and the notices about them."""

import hashlib
import json

import numpy as np
import orbax.checkpoint as ocp
import pytest
from ml_collections import ConfigDict
from safetensors.numpy import save_file

import netzoo
from netzoo.config import default_config, save_config
from netzoo.errors import UserError
from netzoo.export.card import weights_facts
from netzoo.models import create_model, list_models
from netzoo.tasks import resolve_config
from netzoo.weights import CATALOGUE, Preprocessing, save_safetensors, to_torch
from netzoo.weights.class_names import stored_class_names
from netzoo.weights.families import FAMILIES
from netzoo.weights.origin import find_weights
from netzoo.weights.provenance import provenance
from netzoo.weights.recognise import differing
from parity.cases import CASES
from tests.weights.drawn import assert_identical, draw, shapes_of
from tests.weights.pth_files import write_state_dict

MODEL = "mobilenet_v1_025"
HALF = (127.5, 127.5, 127.5)
IMAGES = Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 40, 32, "bilinear")


@pytest.fixture(scope="module")
def variables():
    """Return the variables of a small MobileNetV1 with seven classes."""
    return draw(shapes_of(MODEL, 7)[1])


def timm_file(path, variables):
    return write_state_dict(path, to_torch(variables, MODEL, "timm"))


@pytest.mark.parametrize("name", list_models())
def test_every_project_says_what_it_trains_with(name):
    """The network has each option, and each project on images has a mean."""
    module = create_model(name)
    family = FAMILIES.get(type(module))  # None for networks that tests register
    for project in family.projects.values() if family else ():
        assert all(hasattr(module, option) for option in project.options)
        assert (project.preprocessing is None) == (name.startswith("transformer"))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.edit])
def test_options_of_projects_are_those_that_parity_was_shown_with(name):
    """A file gets the epsilon and padding that the comparison with its reference needs."""
    case = CASES[name]
    module = create_model(case.model, **case.options)
    tensorflow = " tf_" if case.reference.startswith("tf_") else ""
    usual = FAMILIES[type(module)].projects[case.layout + tensorflow].options
    assert differing(usual, module) == {}


def test_a_bare_file_brings_the_options_of_its_project(tmp_path, variables, capsys):
    """MobileNetV1 of timm has another epsilon than netzoo's default."""
    path = timm_file(tmp_path / "a.pth", variables)
    loaded = netzoo.load(path, MODEL)
    assert_identical(loaded.variables, variables)
    assert (loaded.model.norm_epsilon, loaded.model.num_classes) == (1e-5, 7)
    assert loaded.preprocessing.mean == HALF
    said = capsys.readouterr().err
    assert "norm_epsilon=1e-05" in said and "127.5" in said and "usual for timm" in said
    netzoo.load_weights(path, MODEL, 7)
    assert "needs norm_epsilon=1e-05" in capsys.readouterr().err
    netzoo.load_weights(path, MODEL, 7, norm_epsilon=1e-5)
    assert capsys.readouterr().err == ""


def test_timms_weights_from_tensorflow_are_told_by_their_name(tmp_path):
    """Weights from TensorFlow have the same names but other padding and epsilon."""
    model = "mobilenet_v3_small_075"
    tensors = to_torch(draw(shapes_of(model, 7)[1]), model, "timm")
    found = {}
    for name in ("mobilenetv3_small_075", "tf_mobilenetv3_small_075-da427f52"):
        save_file(tensors, tmp_path / f"{name}.safetensors")
        network = netzoo.load(tmp_path / f"{name}.safetensors", model).model
        found[name[:3]] = (network.padding, network.norm_epsilon)
    assert found == {"mob": ("torch", 1e-5), "tf_": ("same", 1e-3)}


def test_a_published_file_is_recognised_by_its_checksum(tmp_path, variables, capsys, monkeypatch):
    """The same published file gives the same weights by name and by path."""
    path = timm_file(tmp_path / "renamed.pth", variables)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    known = CATALOGUE["googlenet_tv.tv_in1k"]._replace(
        name="x.y",
        model=MODEL,
        options={"norm_epsilon": 0.5},
        sha256=sha256[:8],
        licence="CC-BY-NC-4.0",
    )
    monkeypatch.setitem(CATALOGUE, "x.y", known)
    loaded = netzoo.load(path)
    assert loaded.model.norm_epsilon == 0.5 and loaded.preprocessing == known.preprocessing
    said = capsys.readouterr().err
    assert "SHA-256 is that of x.y" in said
    assert "warning: x.y: the licence CC-BY-NC-4.0 does not allow commercial use" in said
    found = provenance(path)
    assert found == {"licence": "CC-BY-NC-4.0", "sha256": {"renamed.pth": sha256}}
    monkeypatch.setattr("netzoo.weights.provenance.download", lambda weights: path)
    assert provenance("x.y") == {"name": "x.y", **found}
    facts = weights_facts(find_weights("x.y", read=False))
    assert facts == {"init": "x.y", "licence": "CC-BY-NC-4.0", "address": known.address}


def test_own_files_bring_options_and_preprocessing(tmp_path):
    """Own files store options, for example that a network has no auxiliary classifiers."""
    options = {"auxiliary": False, "norm_epsilon": 0.25}
    variables = draw(shapes_of("googlenet_tv", 7, **options)[1])
    path = tmp_path / "a.safetensors"
    save_safetensors(path, variables, "googlenet_tv", preprocessing=IMAGES, **options)
    loaded = netzoo.load(path)
    assert_identical(loaded.variables, variables)
    assert not loaded.model.auxiliary and loaded.model.norm_epsilon == 0.25
    assert loaded.preprocessing == IMAGES
    assert_identical(netzoo.load_weights(path, num_classes=7), variables)


def test_own_files_store_class_names(tmp_path, variables):
    """Own files say what their logits mean; damaged names are an error on one line."""
    path, names = tmp_path / "a.safetensors", ["daisy", "roses", *"abcde"]
    save_safetensors(path, variables, MODEL)
    assert stored_class_names(path) is None and stored_class_names(tmp_path / "none") is None
    save_safetensors(path, variables, MODEL, class_names=names)
    assert stored_class_names(path) == tuple(names)
    tensors = {"params/x": np.ones(1, np.float32)}
    for damaged in ("[1]", "{", '"daisy"', "[" * 5000):
        save_file(tensors, path, {"format": "netzoo", "class_names": damaged})
        with pytest.raises(UserError, match="damaged class names") as error:
            stored_class_names(path)
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "metadata",
    [
        {"options": '{"padding": "\x1b[31m"}'},
        {"options": '{"stages": [1, 2]}'},
        {"options": "[" * 5000},
        {"preprocessing": "[[1, 2], [1, 1, 1], 40, 32, null]"},
        {"preprocessing": "[[1, 2, 3], [0, 1, 1], 40, 32, null]"},
        {"preprocessing": "[[1, 2, 3], [1, 1, 1], 1000000, 32, null]"},
        {"preprocessing": '[[1, 2, 3], [1, 1, 1], 40, 32, "lanczos"]'},
        {"preprocessing": '[[1, 2, 3], [1, 1, 1], 1000000, 1000000, "area"]'},
        {"preprocessing": '[[NaN, 2, 3], [1, 1, 1], 40, 32, "area"]'},
        {"preprocessing": "[[1, 2, 3], [1, 1, 1], -40, -32, null]"},
        {"preprocessing": "[[1, 2, 3], [1, 1, 1], 0, 0, null]"},
        {"preprocessing": "7"},
    ],
)
def test_what_a_file_says_of_itself_is_checked(tmp_path, variables, metadata):
    """Metadata of untrusted files is checked."""
    tensors = {"params/x": np.ones(1, np.float32)}
    save_file(tensors, tmp_path / "a.safetensors", {"format": "netzoo", "model": MODEL} | metadata)
    with pytest.raises(UserError, match="invalid metadata") as error:
        netzoo.load_weights(tmp_path / "a.safetensors")
    assert str(error.value).isprintable()


def test_options_that_no_file_can_hold(tmp_path, variables):
    """A variant cannot be stored."""
    with pytest.raises(UserError, match="variant"):
        save_safetensors(tmp_path / "a.safetensors", variables, "vit_ti16", variant=(1, 2))


@pytest.fixture
def run(tmp_path, variables):
    """The folder of a run with other options, mean and standard deviation than the defaults."""
    config = default_config()
    config.model.update(name=MODEL, norm_epsilon=0.125, dropout_rate=0.5)
    config.data.update(mean=IMAGES.mean, std=IMAGES.std, image_size=IMAGES.crop_size)
    config.evaluation.crop_pct = 0.8
    state = {
        "params": variables["params"],
        "model_state": {"batch_stats": variables["batch_stats"]},
        "ema": {},
    }
    with ocp.StandardCheckpointer() as writer:
        writer.save(tmp_path / "checkpoints" / "3" / "state", state)
    save_config(config, tmp_path)
    return tmp_path


def test_a_run_brings_what_it_was_trained_with(run, variables, capsys):
    """The run's configuration has everything that its weights need, except dropout."""
    loaded = netzoo.load(run)
    assert_identical(loaded.variables, variables)
    assert loaded.model.norm_epsilon == 0.125
    assert loaded.model.dropout_rate != 0.5
    assert loaded.preprocessing == IMAGES._replace(interpolation="area")
    assert "config.json" in capsys.readouterr().err


def test_training_from_a_run_or_a_file_takes_over_its_images(run, tmp_path, variables, capsys):
    """Training takes mean, standard deviation and epsilon from a run or a file too."""
    for source, mean, epsilon in (
        (run, IMAGES.mean, 0.125),
        (timm_file(tmp_path / "a.pth", variables), HALF, 1e-5),
    ):
        config = default_config()
        config.model.name = MODEL
        config.init.weights = str(source)
        resolved = resolve_config(config)
        assert resolved.data.mean == mean
        assert resolved.model.norm_epsilon == epsilon
        assert f"data.mean={mean}" in capsys.readouterr().err
        config.model.norm_epsilon, config.data.mean = 0.5, (9.0, 9.0, 9.0)
        resolved = resolve_config(config)
        assert resolved.model.norm_epsilon == 0.5 and resolved.data.mean == (9.0, 9.0, 9.0)


def test_a_resolved_configuration_does_not_need_the_weights_again(tmp_path, variables):
    """A run can be evaluated without its initial weights."""
    path = timm_file(tmp_path / "a.pth", variables)
    config = default_config()
    config.model.name = MODEL
    config.init.weights = str(path)
    resolved = resolve_config(config)
    path.unlink()
    again = ConfigDict(resolved)
    assert json.dumps(resolve_config(again).to_dict()) == json.dumps(resolved.to_dict())
    with pytest.raises(UserError, match=r"a\.pth is not a file"):
        resolve_config(config)


def test_pixels_become_what_the_network_takes():
    """Only uint8 pixels are normalised; other types are an error."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    found = IMAGES.normalize(pixels)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., 2], (pixels[..., 2] - 3.0) / 6.0, rtol=1e-6)
    for wrong in (pixels.astype(np.float32), pixels.astype(np.int64), pixels[..., :1]):
        with pytest.raises(UserError, match=r"uint8.*got"):
            IMAGES.normalize(wrong)
