"""The matcher of all tables of patterns."""

import jax.numpy as jnp
import pytest

from netzoo.errors import UserError
from netzoo.training import patterns

TREE = {"block": {"conv": {"kernel": jnp.zeros((3, 2))}, "norm": {"bias": jnp.zeros(2)}}}


def test_first_match_wins_on_whole_paths():
    """Protects the order of a table, and that 'bias' alone does not match 'block/norm/bias'."""
    table = [(".*/bias", 0), ("block/.*", 1)]
    assert patterns.match(table, TREE, "t") == {
        "block": {"conv": {"kernel": 1}, "norm": {"bias": 0}}
    }
    with pytest.raises(UserError, match="'bias' matches no parameter"):
        patterns.match([("bias", 0), (".*", 1)], TREE, "t")


def test_a_pattern_behind_a_catch_all_is_an_error():
    """Protects against a line of a table that silently does nothing."""
    with pytest.raises(UserError, match=r"'\.\*/bias' matches no parameter.*block/conv/kernel"):
        patterns.match([(".*", 1), (".*/bias", 0)], TREE, "t")


def test_a_parameter_without_a_pattern_is_an_error():
    """Protects parameters from being forgotten by a table without a last line."""
    with pytest.raises(UserError, match="no pattern matches block/conv/kernel"):
        patterns.match([(".*/bias", 0)], TREE, "t")


def test_a_broken_expression_is_an_error_that_names_the_table():
    """Protects users from a traceback of `re`."""
    with pytest.raises(UserError, match=r"t: '\(' is not a regular expression"):
        patterns.match([("(", 0)], TREE, "t")


def test_description_counts_tensors_and_parameters():
    """Protects the printed table, with which users check their patterns."""
    text = patterns.describe([(".*/bias", 0.0), (".*", 1.0)], TREE, "t")
    assert "'.*/bias' -> 0.0: 1 tensors, 2 parameters" in text
    assert "'.*' -> 1.0: 1 tensors, 6 parameters" in text
