"""libtpu on machines without TPUs."""

import os

import pytest

from netzoo.cli import libtpu


@pytest.mark.parametrize(
    ("installed", "files", "told"),
    [(True, [], True), (True, ["/dev/accel0"], False), (False, [], False)],
)
def test_only_an_idle_compiler_is_told_that_there_is_no_tpu(monkeypatch, installed, files, told):
    """Protects TPU VMs, whose own description would be replaced, and laptops from errors."""
    for name in libtpu.NO_TPU:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(libtpu, "is_installed", lambda: installed)
    monkeypatch.setattr(libtpu.glob, "glob", lambda pattern: files)
    libtpu.keep_quiet()
    assert [name in os.environ for name in libtpu.NO_TPU] == [told, told]
    for name in libtpu.NO_TPU:
        monkeypatch.setenv(name, "of the user")
    libtpu.keep_quiet()
    assert {os.environ[name] for name in libtpu.NO_TPU} == {"of the user"}
