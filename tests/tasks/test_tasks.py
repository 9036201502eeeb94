"""The table of tasks and its uses."""

import sys

import pytest
from ml_collections import FrozenConfigDict

from netzoo.config.tasks import task_module
from netzoo.errors import UserError
from netzoo.tasks import predict, resolve_config
from netzoo.tasks.task import Task
from tests.conftest import tiny_config, tiny_translation_config


def test_an_option_of_another_task_is_named(tmp_path):
    """Protects users from an option that does nothing: only translation reads a text file."""
    with pytest.raises(UserError, match="--input is not an option of image_classification"):
        predict(tiny_config("unused"), tmp_path, [], {"input": "in.txt"})


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    """Protects users of the base installation, which has no libraries for text."""
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    monkeypatch.delitem(sys.modules, "netzoo.tasks.translation.metrics", raising=False)
    with pytest.raises(UserError, match=r"sacrebleu.*netzoo\[translate\]"):
        task_module("translation", "metrics")


def test_an_unknown_task_is_named(tmp_path):
    """Protects a third task from being predicted as one of the others."""
    config = tiny_translation_config()
    config.task = "translatio"
    with pytest.raises(UserError, match="unknown task 'translatio'; did you mean translation"):
        predict(config, tmp_path, [], {})


def test_a_frozen_configuration_is_resolved_too():
    """Protects callers with a frozen configuration, which still must be resolved."""
    config = tiny_config("unused")
    resolved = resolve_config(FrozenConfigDict(config))
    assert resolved == resolve_config(config) == resolve_config(resolved)
    assert resolved.data.mean == (127.5, 127.5, 127.5)


@pytest.mark.parametrize("config", [tiny_config("unused"), tiny_translation_config()])
@pytest.mark.parametrize("name", ["sheet.xyz", "sheet"])
def test_figures_of_an_unknown_format_are_refused_at_once(config, name, tmp_path):
    """Protects from a PNG under another name. The error comes before the run is read."""
    options = {"figure": str(tmp_path / name)}
    with pytest.raises(UserError, match=rf"{name}: expected .*\.png"):
        predict(config, tmp_path, ["input"], options)


def test_a_task_that_lacks_a_method_cannot_be_made():
    """Protects a third task from an evaluation that returns None after hours of training."""

    class Incomplete(Task):
        pass

    with pytest.raises(TypeError, match="evaluation_sums"):
        Incomplete()
