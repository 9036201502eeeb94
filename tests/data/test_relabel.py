"""Classes of data that are matched with those of a network by name."""

from types import SimpleNamespace

import pytest

from netzoo.data.relabel import RelabelledSource
from netzoo.data.source import SourceError

DATA = SimpleNamespace(name="folder:photos", split="all", class_names=("daisy", "roses"))


def test_equal_names_cannot_be_matched():
    """Labels would silently become those of the last class with the name."""
    assert RelabelledSource(DATA, ["roses", "tulips", "tulips", "daisy"]).class_names
    with pytest.raises(SourceError, match="several classes with the name daisy"):
        RelabelledSource(DATA, ["daisy", "roses", "daisy"])


def test_messages_show_strange_names_on_one_line():
    """A name may be long, or hold the codes that control a terminal; there may be thousands."""
    names = ["a\nb", "\x1b[31m", "x" * 10**6, *map(str, range(1000))]
    with pytest.raises(SourceError, match=r"have: daisy, roses.*lack: .*\\x1b.* 983 more") as error:
        RelabelledSource(DATA, names)
    assert str(error.value).isprintable() and len(str(error.value)) < 1000
