"""The options of `netzoo eval`."""

import pytest

from netzoo.cli import eval as command
from tests.conftest import tiny_config


@pytest.mark.parametrize(
    ("folder", "overridden", "expected"),
    [("", (), "test"), ("train", (), "all"), ("", ("data.test_split",), "val")],
)
def test_other_data_need_no_split(folder, overridden, expected, pictures):
    """A labelled folder without split folders is evaluated whole; a split on the line counts."""
    config = tiny_config("elsewhere")
    config.data.test_split = "val"
    command._use_data(config, f"folder:{pictures / folder}", overridden)
    assert config.data.source == f"folder:{pictures / folder}"
    assert config.data.test_split == expected
