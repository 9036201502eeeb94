"""The configuration as a file of a run: saved, loaded, and compared with another."""

import json

import pytest

from netzoo.config import CONFIG_FILE, check_same_run, default_config, load_config, save_config
from netzoo.config.tasks import TASKS
from netzoo.errors import UserError


@pytest.mark.parametrize("task", TASKS)
def test_saved_and_loaded_is_the_same(task, tmp_path):
    """Protects eval and predict, which read this file: tuples and None are restored."""
    config = default_config(task)
    config.train.clip_norm = 1.0
    save_config(config, tmp_path)
    loaded = load_config(tmp_path)
    assert loaded == config
    assert loaded.optimizer.weight_decay_mults[1] == (r".*", 1.0)
    check_same_run(config, tmp_path)


def test_free_keys_may_differ_and_others_may_not(tmp_path):
    """Protects continued runs: data folders may change, but results may not."""
    config = default_config()
    save_config(config, tmp_path)
    config.data.num_threads = 7
    config.data.on_corrupt = "skip"  # to continue where a corrupt image stopped the run
    config.train.epochs += 1
    check_same_run(config, tmp_path)
    config.data.source = "tfds:tf_flowers"  # another kind of source has other data
    with pytest.raises(UserError, match=r"data\.source: the run has.*\n.*init\.weights="):
        check_same_run(config, tmp_path)
    config.data.source = default_config().data.source
    config.data.image_size = 97  # a key of a section is not free because another one is
    config.seed = 1
    with pytest.raises(UserError, match=r"image_size: .*\n.*seed: the run has 0, now 1"):
        check_same_run(config, tmp_path)


def test_folder_without_a_run(tmp_path):
    """Protects users who pass another folder."""
    with pytest.raises(UserError, match=r"holds no run: it has no config\.json") as error:
        load_config(tmp_path)
    assert "Did you mean" not in str(error.value)
    step = tmp_path / "checkpoints" / "8"
    step.mkdir(parents=True)
    (tmp_path / "config.json").touch()
    for folder in (step, step.parent, tmp_path / "missing"):
        with pytest.raises(UserError, match=rf"Did you mean {tmp_path}\?"):
            load_config(folder)


@pytest.mark.parametrize(
    ("old", "nearest"),
    [
        ("train.accumulate_steps", "train.grad_accum_steps"),
        ("optimizer.weight_decay_factors", "optimizer.weight_decay_mults"),
        ("train.batch_statistics", "train."),
    ],
)
def test_run_with_a_key_of_another_version(old, nearest, tmp_path):
    """Protects old runs from a key that is silently ignored: the message names the nearest key."""
    config = default_config()
    section, name = old.split(".")
    config[section][name] = 1
    save_config(config, tmp_path)
    with pytest.raises(UserError, match=f"unknown key '{old}'.*{nearest}"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["{", "{}", "[]", '{"task": "image_classification", "seed": "one"}', '{"task": "t"}', '"task"'],
)
def test_damaged_configuration_of_a_run(text, tmp_path):
    """Protects users from a traceback for a damaged file."""
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(UserError, match=r"config.json is damaged"):
        load_config(tmp_path)


def test_configuration_of_an_earlier_version_says_what_to_correct(tmp_path):
    """Protects older runs: after the correction that the error names, they are readable."""
    config = default_config()
    save_config(config, tmp_path)
    path = tmp_path / CONFIG_FILE
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({**saved, "train": {**saved["train"], "remat": False}}))
    with pytest.raises(UserError, match=r"none \(not False\).*; correct the file, or use another"):
        load_config(tmp_path)
    path.write_text(json.dumps(saved))
    assert load_config(tmp_path).train.remat == "none"
