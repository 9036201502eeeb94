"""JSON files that are damaged or come from a stranger: one error, never a traceback."""

import contextlib
import json

import pytest

from netzoo.config import CONFIG_FILE, default_config, load_config
from netzoo.config.tasks import TASKS
from netzoo.errors import UserError
from netzoo.json_files import OtherShape, read_json
from netzoo.tasks.classification.temperature import stored_temperature
from netzoo.weights.class_names import load_class_names
from netzoo.weights.formats.read import read_weights
from netzoo.weights.hub.find import describe
from netzoo.workdir import environment, held_out
from netzoo.workdir.checksums import CHECKSUMS_FILE, check_files
from tests.damaged_json import DEEP, read_everything

SHAPE = {"name": str, "sizes": [float], "pair?": [int, str], "more?": {"*": (bool, None)}}
SOUND = {"name": "a", "sizes": [1, 2.5], "pair": [3, "b"], "more": {"x": True, "y": None}, "z": 1}


def test_a_file_of_the_shape_is_read(tmp_path):
    """Protects the values: no shape changes them."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps(SOUND))
    assert read_json(path, SHAPE) == SOUND
    assert read_json(path, {}) == SOUND


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b'{"name": ', "is not JSON"),
        (DEEP, "over 32 deep"),
        (b"[" * 100_000, "over 32 deep|is not JSON"),
        (b'{"a": [1' + b"0" * 400 + b"]}", "over 64 bits"),
        (b"[]", "expected an object for the file, got \\[\\]"),
        (b'{"name": "a"}', "it lacks the key 'sizes'"),
        (b'{"name": 1, "sizes": []}', "expected a text for name, got 1"),
        (b'{"name": "a", "sizes": [1, "x"]}', 'expected a number for sizes\\[1\\], got "x"'),
        (b'{"name": "a", "sizes": [NaN]}', "expected a number for sizes\\[0\\]"),
        (b'{"name": "a", "sizes": [1e999]}', "expected a number for sizes\\[0\\]"),
        (b'{"name": "a", "sizes": [true]}', "expected a number for sizes\\[0\\]"),
        (b'{"name": "a", "sizes": [], "pair": [1]}', "expected 2 values in pair"),
        (b'{"name": "a", "sizes": [], "pair": [1.5, "b"]}', "expected a whole number for pair"),
        (
            b'{"name": "a", "sizes": [], "more": {"x": 1}}',
            "true or false or null for more.x, got 1",
        ),
    ],
)
def test_another_shape_is_one_message(text, message, tmp_path):
    """Protects readers: the message names the file and the first difference."""
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(OtherShape, match=message) as error:
        read_json(path, SHAPE)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("task", TASKS)
def test_configurations(task, tmp_path):
    """Protects config.json of a run, which every command reads first."""
    value = json.loads(json.dumps(default_config(task).to_dict()))
    path = tmp_path / CONFIG_FILE
    assert read_everything(lambda: load_config(tmp_path), path, value) > 500
    for name in ("a.b", "", "data.source", "\0"):
        for odd in ({**value, name: 1}, {**value, "data": {**value["data"], name: 1}}):
            path.write_text(json.dumps(odd))
            with pytest.raises(UserError, match=CONFIG_FILE):
                load_config(tmp_path)


def test_class_names(tmp_path):
    """Protects classes.json."""
    read_everything(lambda: load_class_names(tmp_path), tmp_path / "classes.json", ["a", "b"])


def test_temperatures(tmp_path):
    """Protects temperature.json, which predictions read."""
    value = {"temperature": 1.5, "checkpoint": "last", "step": 7}
    path = tmp_path / "temperature.json"
    read_everything(lambda: stored_temperature(tmp_path, "last", 7), path, value)


def test_logs_of_the_test_split(tmp_path):
    """Protects test_evaluations.json, which records read."""
    entry = {"time": "2026-01-02", "checkpoint": "last", "step": 7, "weights": "ema"}
    path = tmp_path / "test_evaluations.json"
    read_everything(lambda: held_out.summary(tmp_path), path, [{**entry, "settings": {"a": 1}}])


def test_environments(tmp_path):
    """Protects environment.json, which a continuation compares."""
    now = {"versions": {"jax": "1"}, "machine": {"cores": 2}, "data": {"train": {"examples": 3}}}
    changes = [{"step": 3, "values": {"machine.cores": [1, 2]}}]
    path = tmp_path / "environment.json"
    read_everything(
        lambda: environment.changes_since(tmp_path, now), path, {**now, "changes": changes}
    )


def test_checksums(tmp_path):
    """Protects checksums.json of a checkpoint; any error of it means a damaged checkpoint."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "x").write_bytes(b"")

    def read():
        with contextlib.suppress(ValueError):
            check_files(tmp_path)

    read_everything(read, tmp_path / CHECKSUMS_FILE, {"state/x": "0" * 64})


def test_files_of_a_hub(tmp_path):
    """Protects an index of weights, and the description of a network beside it."""
    path = tmp_path / "model.safetensors.index.json"

    def read():
        with contextlib.suppress(UserError):  # the file is missing
            read_weights(path)

    read_everything(read, path, {"weight_map": {"a": "b.safetensors"}})


def test_damaged_descriptions_of_the_hub(tmp_path):
    """Config.json and preprocessor_config.json give a description or a UserError."""
    images = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 224, 224]}
    images |= {"crop_pct": 0.9, "interpolation": "bicubic"}
    timm = {"architecture": "vit_base_patch16_224", "num_classes": 3, "pretrained_cfg": images}
    transformers = {"model_type": "resnet", "depths": [2, 2, 2, 2], "layer_type": "basic"}
    transformers |= {"hidden_sizes": [64, 128, 256, 512], "id2label": {"0": "a", "1": "b"}}
    processor = {"size": {"height": 64, "width": 64}, "resample": 2}
    processor |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    path = tmp_path / CONFIG_FILE

    def read():
        return read_json(path, {"*": object})

    for config in (timm, transformers):
        read_everything(lambda: describe(read(), processor, "config.json"), path, config)
    read_everything(lambda: describe(transformers, read(), "config.json"), path, processor)
