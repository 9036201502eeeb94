"""Hub folders and files of weights: what timm and netzoo read back, and the model card."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from netzoo.cli import export as command
from netzoo.config import default_config
from netzoo.config.files import save_config
from netzoo.errors import UserError
from netzoo.export import hub
from netzoo.export.card import model_card, run_facts
from netzoo.export.classifier import image_program
from netzoo.export.hub import Trained, crop_pct, hub_config, write_hub_folder
from netzoo.models import create_model
from netzoo.models.aliases import TIMM_NAMES
from netzoo.models.summary import variable_shapes
from netzoo.tasks.classification.predictor import Predictor
from netzoo.weights import load, save_safetensors
from netzoo.weights.class_names import class_names_of
from netzoo.weights.families import FAMILIES
from tests.export.conftest import NAMES, PREPROCESSING, drawn

FACTS = {"data": "folder:photos", "accuracy": 0.9, "interval": [0.8, 0.95], "count": 40}
FACTS |= {"split": "test", "command": "netzoo train --config x", "licence": "Apache-2.0"}


def trained(name, **options):
    model = create_model(name, num_classes=len(NAMES), **options)
    variables = drawn(variable_shapes(model, PREPROCESSING.crop_size))
    return Trained(name, model, variables, PREPROCESSING, NAMES, FACTS)


@pytest.fixture(scope="module")
def network():
    return trained("mobilenet_v2_035")


def test_netzoo_reads_a_folder_back(network, tmp_path, images):
    """The weights, the normalisation and the crop are those of the network."""
    write_hub_folder(tmp_path / "flowers", network)
    assert sorted(p.name for p in (tmp_path / "flowers").iterdir()) == [
        *("README.md", "config.json", "model.safetensors")
    ]
    model, variables, found, _ = load(tmp_path / "flowers", network.name)
    np.testing.assert_allclose(found.mean + found.std, PREPROCESSING.mean + PREPROCESSING.std)
    assert found[2:] == (*PREPROCESSING[2:4], "hamming", "center")
    np.testing.assert_equal(variables, network.variables)
    Predictor(model, variables, found, NAMES).preprocess(images.pixels[0])
    card = (tmp_path / "flowers" / "README.md").read_text()
    for part in ("license: apache-2.0", "90.00% (95 % interval 80.00% to 95.00%) on 40 images",
                 "folder:photos", "netzoo train --config x", "daisy, roses, tulips"):  # fmt: skip
        assert part in card
    with pytest.raises(UserError, match="flowers exists"):
        write_hub_folder(tmp_path / "flowers", network)


@pytest.mark.slow
def test_weights_that_differ_when_read_back_are_removed(network, tmp_path, monkeypatch):
    """Protects from a layout that does not reverse."""
    other = drawn(variable_shapes(network.model, 32), seed=1)
    monkeypatch.setattr(hub, "load_weights", lambda *args, **options: other)
    with pytest.raises(UserError, match="differs from the network"):
        write_hub_folder(tmp_path / "flowers", network)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_options_get_timms_arguments_or_are_refused():
    """With another option, timm would compute other logits from the same weights."""
    config = hub_config(trained("mobilenet_v2_035", norm_epsilon=1e-3))
    assert config["model_args"] == {"bn_eps": 1e-3}
    for network, message in (
        (trained("mobilenet_v2_035", padding="same"), "padding='same', not 'torch'"),
        (trained("mobilenet_v2_035", width_multiplier=0.3), "differs .* in its shapes"),
        (trained("vit_ti16", pool="patches"), "pool='patches', not 'token'"),
        (trained("reliability_small"), "timm has no network reliability_small"),
    ):
        with pytest.raises(UserError, match=message):
            hub_config(network)


def test_every_network_of_the_table_has_names_in_timm():
    """Protects the table from a typing error."""
    for name in TIMM_NAMES:
        assert "timm" in FAMILIES[type(create_model(name))].projects


def test_the_card_escapes_texts(network):
    """Class names may come from a stranger's folder names."""
    names = ("<img src=x>", "a|b\n# c", "[d](http://e)")
    card = model_card("x", hub_config(network), "t`", names, {"command": "x\n```\n# y"})
    assert "\\<img src=x\\>" in card and "a\\|b\\\\n\\# c" in card and "\\[d\\]" in card
    assert "\n# y" not in card and card.count("```") == 4


@pytest.mark.slow
def test_the_command_writes_weights(network, tmp_path, capfd):
    """The command converts netzoo's own file to the names of a project, and back."""
    weights, out = tmp_path / "own.safetensors", tmp_path / "timm.safetensors"
    described = {"preprocessing": PREPROCESSING, "class_names": NAMES}
    save_safetensors(weights, network.variables, network.name, **described)
    arguments = ["--weights", str(weights), "--format", "safetensors", "--out"]
    command.main([*arguments, str(out), "--project", "timm"])
    assert "read back" in capfd.readouterr().out
    found = load(out, network.name, image_size=32)
    np.testing.assert_equal(found.variables, network.variables)
    command.main([*arguments, str(tmp_path / "again.safetensors")])
    again = load(tmp_path / "again.safetensors")
    np.testing.assert_equal(again.variables, network.variables)
    assert again.preprocessing == PREPROCESSING
    assert class_names_of(tmp_path / "again.safetensors") == NAMES
    for more, message in (
        ([str(tmp_path / "x.pth")], r"ends with \.safetensors"),
        ([str(out), "--project", "tim"], "unknown project"),
        ([str(out), "--with-preprocessing"], "holds weights, not a program"),
    ):
        with pytest.raises(UserError, match=message):
            command.main([*arguments, *more])


def test_the_card_of_a_run_has_the_licence_that_the_run_recorded(tmp_path):
    """The record belongs to the bytes of the initial weights; a name may mean others later."""
    config = default_config()
    config.init.weights = "resnet50.a1_in1k"
    (tmp_path / "environment.json").write_text('{"weights": {"licence": "cc-by-nc-4.0"}}')
    assert run_facts(tmp_path, config)["licence"] == "cc-by-nc-4.0"


@pytest.mark.parametrize("file_format", ["hub", "safetensors", "of a program"])
def test_multi_label_runs_are_refused(file_format, tmp_path):
    """No format stores thresholds, and readers would apply a softmax."""
    config = default_config()
    config.data.multi_label, config.train.loss = True, "binary_cross_entropy"
    save_config(config, tmp_path)
    (tmp_path / "classes.json").write_text(json.dumps(NAMES))
    out = tmp_path / ("out" if file_format == "hub" else "out.safetensors")
    with pytest.raises(UserError, match=r"a multi-label run cannot be exported: .* no thresholds"):
        if file_format == "of a program":
            image_program(SimpleNamespace(thresholds=np.full(3, 0.5)), "mobilenet_v2_035")
        else:
            where = ["--workdir", str(tmp_path), "--format", file_format, "--out", str(out)]
            command.main(where)
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2_035", "resnet18", "vit_ti16"])
def test_timm_computes_the_same(name, tmp_path, images):
    """Timm reads the folder alone, and gives the logits of the network."""
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    network = trained(name)
    write_hub_folder(tmp_path / "flowers", network)
    model = timm.create_model(f"local-dir:{tmp_path / 'flowers'}", pretrained=True).eval()
    batch = PREPROCESSING.normalize(images.pixels)
    with torch.no_grad():
        found = model(torch.from_numpy(batch).permute(0, 3, 1, 2)).numpy()
    predictor = Predictor(network.model, network.variables, PREPROCESSING, NAMES, 8)
    expected = predictor.logits(list(images.pixels))
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert model.pretrained_cfg["label_names"] == list(NAMES)


def test_timm_finds_the_resized_side_again():
    """Rounded ratios, such as 33 / 54, would lose a pixel, because timm rounds down."""
    sizes = [(side, resize) for side in range(32, 400, 7) for resize in range(side, 2 * side)]
    assert all(math.floor(side / crop_pct(side, resize)) == resize for side, resize in sizes)
    assert math.floor(33 / (33 / 54)) == 53
