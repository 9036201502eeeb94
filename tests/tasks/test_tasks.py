"""The table of tasks, and what each task is asked for through it."""

import pytest

from netzoo.errors import UserError
from netzoo.tasks import predict
from tests.conftest import tiny_config, tiny_translation_config


def test_an_option_of_another_task_is_named(tmp_path):
    """Protects users from an option that does nothing: only translation reads a text file."""
    with pytest.raises(UserError, match="--input is not an option of image_classification"):
        predict(tiny_config("unused"), tmp_path, [], {"input": "in.txt"})


def test_an_unknown_task_is_named(tmp_path):
    """Protects a third task from being predicted as one of the others."""
    config = tiny_translation_config()
    config.task = "translatio"
    with pytest.raises(UserError, match="unknown task 'translatio'; did you mean translation"):
        predict(config, tmp_path, [], {})
