"""Facts about the package that stand in several files."""

import configparser
import re
from pathlib import Path

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


def test_an_installation_is_renewed_when_what_it_is_made_of_changes():
    """Protects `make` after a pull: the virtual environment matches the current files."""
    [made_of] = re.findall(r"^\$\(VENV\)/.installed:(.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert {"setup.cfg", "setup.py", "pyproject.toml"} <= {*made_of.split()}
