"""What a run writes about the machine and the versions."""

import json
import re
from pathlib import Path

import pytest

from netzoo.workdir import environment

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["/usr/bin/python", "train.py", "--x", "two words"], "python train.py --x 'two words'"),
        (["/usr/bin/python", "/usr/bin/netzoo", "train", "--x"], "netzoo train --x"),
        (["/usr/bin/python"], "python"),
    ],
)
def test_environment_is_complete(command, line, tmp_path):
    """Protects what a record says about the machine and the versions."""
    described = environment.describe_environment({"train": {"examples": 40, "names": "ab"}})
    environment.save_environment(tmp_path, described, command, 12, "random")
    made = json.loads((tmp_path / "environment.json").read_text())
    assert made["command"] == line
    assert (made["parameters"], made["init"]) == (12, "random")
    assert set(made["versions"]) == {"python", *environment._PACKAGES}
    machine = {"cpu", "cores", "memory", "devices", "processes", "platform"}
    assert set(made["machine"]) == machine
    assert made["machine"]["cores"] >= 1 and made["machine"]["cpu"]
    assert made["machine"]["processes"] == 1 and "XLA_FLAGS" in made["variables"]
    assert made["data"]["train"]["examples"] == 40
    # A copy of netzoo without its repository has no commit.
    has_repository = (ROOT / ".git").exists()
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?" if has_repository else "None", f"{made['commit']}")
