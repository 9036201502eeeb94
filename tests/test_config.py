"""The configuration: defaults, validation, saving, and telling runs apart."""

import pytest

from netzoo.config import (
    CONFIG_FILE,
    check_same_run,
    default_config,
    load_config,
    save_config,
    validate,
)
from netzoo.errors import UserError

TASKS = ("image_classification", "translation")


@pytest.mark.parametrize("task", TASKS)
def test_defaults_are_valid(task):
    """Protects every experiment that starts from them."""
    validate(default_config(task))


def test_unknown_task():
    """Protects a misspelt task from a traceback."""
    with pytest.raises(UserError, match="translation"):
        default_config("translatoin")


def test_faults_of_translation():
    """Protects each task's own rules from being left out."""
    config = default_config("translation")
    config.data.lengths = (32, 16)
    config.schedule.warmup_epochs = 0.0
    with pytest.raises(UserError) as error:
        validate(config)
    assert "data.lengths is (32, 16); expected whole numbers that rise" in str(error.value)
    assert "schedule.warmup_epochs is 0.0; expected more than 0" in str(error.value)


def test_all_faults_are_reported_at_once():
    """Protects users from mending one key a try; each fault names key, value and range."""
    config = default_config()
    config.train.batch_size = 0
    config.data.cache = "disk"
    config.data.on_corrupt = "ignore"
    config.train.on_nonfinite = "ignore"
    with pytest.raises(UserError) as error:
        validate(config)
    assert "train.batch_size is 0; expected at least 1" in str(error.value)
    assert "train.on_nonfinite is 'ignore'; expected stop or skip" in str(error.value)
    assert "data.cache is 'disk'; expected none, encoded or decoded" in str(error.value)


@pytest.mark.parametrize("task", TASKS)
def test_saved_and_loaded_is_the_same(task, tmp_path):
    """Protects eval and predict, which know a run by this file: tuples and None survive."""
    config = default_config(task)
    config.train.clip_norm = 1.0
    save_config(config, tmp_path)
    loaded = load_config(tmp_path)
    assert loaded == config
    assert loaded.optimizer.weight_decay_mults[1] == (r".*", 1.0)
    check_same_run(config, tmp_path)


def test_free_keys_may_differ_and_others_may_not(tmp_path):
    """Protects resuming: where data lies may change, what is computed may not."""
    config = default_config()
    save_config(config, tmp_path)
    config.data.num_threads = 7
    config.data.on_corrupt = "skip"  # how one goes on where a corrupt image stopped the run
    check_same_run(config, tmp_path)
    config.seed = 1
    with pytest.raises(UserError, match="seed: the run has 0, now 1"):
        check_same_run(config, tmp_path)


def test_folder_without_a_run(tmp_path):
    """Protects users who give another folder than train.py had."""
    with pytest.raises(UserError, match="holds no run"):
        load_config(tmp_path)


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
    with config.unlocked():
        section, name = old.split(".")
        config[section][name] = 1
    save_config(config, tmp_path)
    with pytest.raises(UserError, match=f"unknown key '{old}'.*{nearest}"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "{}", "[]", '{"task": "image_classification", "seed": "one"}']
)
def test_damaged_configuration_of_a_run(text, tmp_path):
    """Protects users who have edited it by hand from a traceback."""
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(UserError, match=r"config.json is no configuration of a run, or a damaged"):
        load_config(tmp_path)
