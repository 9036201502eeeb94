"""Facts about the package that stand in several files."""

import configparser
import re
import runpy
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import netzoo

ROOT = Path(__file__).parents[1]


def test_every_file_gives_the_version_of_the_package():
    """Protects users who cite a release or look up its changes."""
    citation = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert citation[1] == netzoo.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] == netzoo.__version__
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["metadata"]["version"] == "attr: netzoo.__version__"


def test_constraints_are_within_the_bounds():
    """Protects users and CI: constraints.txt pins every library to a version that netzoo allows."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    extras = settings["options.extras_require"]
    locked = (extras["dev"], extras["docs"], extras["translate"])
    wanted = [settings["options"]["install_requires"], *locked]
    bounds = [Requirement(x) for text in wanted for x in text.split("\n") if re.match("[a-z]", x)]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(str(pin.specifier).startswith("==") and not pin.url for pin in pins)
    versions = {canonicalize_name(p.name): str(p.specifier).removeprefix("==") for p in pins}
    for bound in bounds:
        if bound.name != "netzoo":
            assert bound.specifier.contains(versions[canonicalize_name(bound.name)]), bound


def test_the_lock_has_a_hash_for_every_library():
    """Protects CI: pip can check only libraries that have a hash."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", "")
    lines = [line.split() for line in text.splitlines() if line and line[0] != "#"]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    assert [line[0] for line in lines] == [pin.split()[0] for pin in pins]
    assert all(len(line) > 1 for line in lines)
    assert all(re.fullmatch("--hash=sha256:[0-9a-f]{64}", x) for line in lines for x in line[1:])


def test_a_job_tries_the_newest_libraries_every_week():
    """Protects users without constraints.txt, who get the newest libraries within the bounds."""
    job = (ROOT / ".github" / "workflows" / "newest.yml").read_text()
    assert re.search(r"schedule:\n +- cron: \"\d+ \d+ \* \* \d\"", job)
    assert "run: .ci/run" in job and "requirements.lock" not in job


def test_windows_is_refused_with_a_way_on(monkeypatch):
    """Protects users of Windows from an error of a missing module."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ImportError, match=r"does not run on Windows.*WSL"):
        runpy.run_path(str(ROOT / "netzoo" / "__init__.py"))


def test_an_installation_is_renewed_when_what_it_is_made_of_changes():
    """Protects `make` after a pull: the virtual environment matches the current files."""
    makefile = (ROOT / "Makefile").read_text()
    for name in ("installed", "installed-dev"):
        [made_of] = re.findall(rf"^\$\(VENV\)/.{name}:(.*)$", makefile, re.M)
        assert {"setup.cfg", "setup.py", "pyproject.toml"} <= {*made_of.split()}
