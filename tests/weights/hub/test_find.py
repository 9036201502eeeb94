"""Weights by `hf:` names: a mock hub with random weights in timm's and transformers' layouts."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save

import netzoo
from netzoo.errors import UserError
from netzoo.files import sha256_of
from netzoo.processes import sha256_of_arrays
from netzoo.weights import to_torch
from netzoo.weights.origin import find_weights
from netzoo.weights.provenance import provenance
from tests.weights.drawn import assert_identical, draw, shapes_of
from tests.weights.hub.mock_hub import Repo, commit_of, serving
from tests.weights.hub.test_describe import MOBILE_NET, PROCESSOR, TIMM, VIT

NAMES = ["daisy", "roses", "tulips"]
SMALL = "mobilenet_v1_025"
OPTIONS = {"padding": "same", "norm_epsilon": 1e-3}
CHILD = """
import json, sys
import netzoo
from netzoo.config import default_config
from netzoo.errors import UserError
from netzoo.tasks import resolve_config
from netzoo.processes import sha256_of_arrays
from netzoo.weights.provenance import provenance

for name in sys.argv[2:]:
    try:
        model, variables, images, names = netzoo.load(name)
        config = default_config()
        config.model.name, config.init.weights = sys.argv[1], name
        answer = {
            "model": type(model).__name__,
            "variables": sha256_of_arrays(variables),
            "options": [model.padding, model.norm_epsilon],
            "images": images,
            "names": names,
            "provenance": provenance(name),
            "mean": resolve_config(config, open_data=False).data.mean[0],
        }
    except UserError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
"""


def drawn():
    return draw(shapes_of(SMALL, len(NAMES), **OPTIONS)[1])


def repository(config, project, *, processor=None, **files):
    """Return a repository with random weights in the names of a project."""
    tensors = to_torch(drawn(), SMALL, project, num_classes=len(NAMES), **OPTIONS)
    half = len(tensors) // 2
    shards = {"a.safetensors": dict([*tensors.items()][:half])}
    shards["b.safetensors"] = dict([*tensors.items()][half:])
    index = {"weight_map": {n: file for file, part in shards.items() for n in part}}
    held = {"config.json": json.dumps(config).encode(), **files}
    if processor is None:
        return Repo({**held, "model.safetensors": save(tensors)})
    held["preprocessor_config.json"] = json.dumps(processor).encode()
    held["model.safetensors.index.json"] = json.dumps(index).encode()
    return Repo({**held, **{name: save(part) for name, part in shards.items()}})


IMAGES = {**TIMM["pretrained_cfg"], "input_size": [3, 32, 32], "test_input_size": None}
IMAGES |= {"license": "cc-by-nc-4.0", "mean": [0.25] * 3}
OF_TIMM = {**TIMM, "architecture": "mobilenetv1_025", "num_classes": 3, "label_names": NAMES}
OF_TIMM |= {"pretrained_cfg": IMAGES, "model_args": {"bn_eps": 1e-3}}
OF_TRANSFORMERS = {**MOBILE_NET, "depth_multiplier": 0.25}
OF_TRANSFORMERS |= {"id2label": {str(i): name for i, name in enumerate(NAMES)}}
SQUARE = {**PROCESSOR, "size": {"height": 32, "width": 32}}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Load all repositories in a process that talks to the mock hub."""
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    repositories = {
        "org/timm": repository(OF_TIMM, "timm"),
        "org/transformers": repository(
            OF_TRANSFORMERS,
            "transformers",
            processor=SQUARE,
            **{"README.md": b"---\ntags: [x]\nlicense: other\n---\nlicense: mit\n"},
        ),
        "org/wider": repository({**OF_TIMM, "architecture": "mobilenetv1_050"}, "timm"),
        "org/other": repository({**OF_TIMM, "architecture": "mobilenetv1_025x"}, "timm"),
    }
    names = [f"hf:{name}" for name in repositories]
    home = tmp_path_factory.mktemp("home")
    with serving(repositories) as hub:
        environment = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, SMALL, *names],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        return dict(zip(repositories, answers, strict=True)), done.stderr, hub, repositories


@pytest.mark.slow
def test_names_of_the_hub_give_everything_without_a_catalogue(loaded):
    """Network, weights, preprocessing, classes and licence come from the repository alone."""
    answers, said, _, repositories = loaded
    timm, transformers = answers["org/timm"], answers["org/transformers"]
    commit = commit_of(repositories["org/timm"].files)
    assert timm["images"] == [[63.75] * 3, [58.395, 57.12, 57.375], 32, 32, "bicubic", "center"]
    assert transformers["images"] == [[127.5] * 3, [127.5] * 3, 32, 32, "bilinear", "squash"]
    assert timm["names"] == transformers["names"] == NAMES
    assert timm["mean"] == 63.75 and transformers["mean"] == 127.5
    assert timm["provenance"]["name"] == f"hf:org/timm@{commit}"
    assert timm["provenance"]["licence"] == "cc-by-nc-4.0"
    assert list(transformers["provenance"]["sha256"]) == ["a.safetensors", "b.safetensors"]
    warning = f"warning: hf:org/timm@{commit}: the licence cc-by-nc-4.0 does not allow commercial"
    assert said.count(warning) == 1 and "licence other" in said


@pytest.mark.slow
def test_weights_of_both_layouts_are_the_same_variables(loaded):
    """The shards are joined; TensorFlow's padding belongs to transformers' weights only."""
    timm, transformers = loaded[0]["org/timm"], loaded[0]["org/transformers"]
    expected = sha256_of_arrays(drawn())
    assert timm["variables"] == transformers["variables"] == expected
    assert timm["options"] == ["torch", 1e-3] and transformers["options"] == ["same", 1e-3]


@pytest.mark.slow
def test_weights_that_do_not_fit_are_refused_before_they_are_downloaded(loaded):
    """A part of the file shows names and shapes; unknown architectures fail before that."""
    answers, _, hub, _ = loaded
    wider = answers["org/wider"]["error"]
    assert "does not fit the network" in wider and "the file fits mobilenet_v1_025" in wider
    assert "'mobilenetv1_025x'" in answers["org/other"]["error"]
    asked = [r for r in hub.requests if "GET" in r and "/model.safetensors" in r]
    asked = [r for r in asked if ".index.json" not in r]
    whole = [r for r in asked if "bytes=" not in r]
    assert [r.split()[1].split("/")[2] for r in whole] == ["timm"]
    assert not any("/org/other" in request for request in asked)


@pytest.mark.parametrize("config", [OF_TIMM, OF_TRANSFORMERS])
def test_folders_of_both_layouts_need_no_model(tmp_path, config, capsys):
    """A folder on this machine gives the same as a repository."""
    is_timm = config is OF_TIMM
    repo = repository(config, "timm" if is_timm else "transformers", processor=SQUARE)
    for name, data in repo.files.items():
        (tmp_path / name).write_bytes(data)
    variables = netzoo.load_weights(tmp_path, num_classes=3, **OPTIONS)
    assert_identical(variables, drawn())
    assert ("does not allow commercial use" in capsys.readouterr().err) == is_timm
    shards = {name: sha256_of(tmp_path / name) for name in ("a.safetensors", "b.safetensors")}
    expected = {"licence": "cc-by-nc-4.0" if is_timm else None, "sha256": shards}
    assert provenance(tmp_path) == expected
    assert provenance(tmp_path / "model.safetensors.index.json") == expected
    assert provenance(tmp_path / "a.safetensors")["sha256"].keys() == {"a.safetensors"}


def test_a_folder_is_described_before_its_weights_are_read(tmp_path):
    """The advice about config.json comes first, and a description needs no tensors."""
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"holds model.safetensors, but no config.json"):
        netzoo.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(OF_TIMM))
    found = find_weights(tmp_path, read=False)
    assert found.model == SMALL and not found.tensors
    with pytest.raises(UserError, match=r"model.safetensors is damaged"):
        netzoo.load(tmp_path)


def test_a_network_below_the_classifier_lacks_a_prefix(tmp_path):
    """`ViTModel` stores `encoder.layer.0...`, and a pooler that netzoo leaves out."""
    variant = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
    config = {**VIT, **variant, "architectures": ["ViTModel"], "id2label": None}
    variables = draw(shapes_of("vit_ti16", 0, image_size=32)[1])
    tensors = to_torch(variables, "vit_ti16", "transformers", num_classes=0)
    tensors = {name.removeprefix("vit."): value for name, value in tensors.items()}
    tensors["pooler.dense.weight"] = np.ones((192, 192), np.float32)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(SQUARE))
    (tmp_path / "model.safetensors").write_bytes(save(tensors))
    loaded = netzoo.load(tmp_path)
    assert_identical(loaded.variables, variables)
    assert loaded.model.num_classes == 0 and loaded.preprocessing.crop_size == 32


def test_a_stated_number_of_classes_that_the_head_lacks(tmp_path):
    """Protects from a random head that nobody asked for, and from one that fills the memory."""
    for name, data in repository({**OF_TIMM, "num_classes": 10**9}, "timm").files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=r"1,000,000,000 classes, but its head has 3; pass num_cl"):
        netzoo.load(tmp_path)
