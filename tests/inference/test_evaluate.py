"""Evaluation of a run: what is refused before anything is read."""

import pytest

from netzoo.errors import UserError
from netzoo.inference.evaluate import evaluate_run
from tests.conftest import tiny_translation_config


def test_a_run_without_a_test_split_says_which_key(tmp_path):
    """Protects from an error about the syntax of an empty split: it may be empty in training."""
    config = tiny_translation_config()
    config.data.test_split = ""
    with pytest.raises(UserError, match=r"nothing to evaluate on.* --config.data.test_split=SPLIT"):
        evaluate_run(config, tmp_path)
