"""The cache folder: the variable decides, then the user's cache folder."""

from pathlib import Path

from netzoo.cache import CACHE_VARIABLE, cache_folder


def test_where_the_cache_lies(monkeypatch):
    """Protects clusters, where the home folder is too small for gigabytes."""
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "netzoo"
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert cache_folder() == Path("/fast/netzoo")
    monkeypatch.setenv(CACHE_VARIABLE, "/scratch")
    assert cache_folder() == Path("/scratch")
