"""Where a run may start and continue: it deletes only what a run of netzoo wrote."""

import os
import re

import jax.numpy as jnp
import pytest

from netzoo.config import CONFIG_FILE
from netzoo.errors import UserError
from netzoo.workdir.checkpoint import BestCheckpoint, Checkpoints
from netzoo.workdir.folder import FRESH_FILE, check_folder, has_begun
from tests.workdir.test_checkpoint import positions, state_at


def write(root, *names):
    """Write a file with some text for every name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("process 1 on host\n" if path.name == "lock" else "text")
    return root


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("lock",),  # killed before anything else was written
        ("lock", f"checkpoints/{FRESH_FILE}", "classes.json"),
        (".DS_Store", "lost+found/1"),
        (CONFIG_FILE, f"checkpoints/{FRESH_FILE}", "metrics.jsonl"),  # killed in its first steps
        (CONFIG_FILE, "checkpoints/20/state/x", "best/10/metrics/metrics", "notes.txt"),
    ],
)
def test_a_run_starts_and_continues(names, tmp_path):
    """Protects new runs and continuations."""
    check_folder(write(tmp_path, *names))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("photo.jpg",), r"no run of netzoo, but other files \(photo.jpg\); give a new --workdir"),
        (("metrics.jsonl", "tensorboard/events.out.tfevents.1"), r"\(metrics.jsonl, tensorboard\)"),
        (("best/2023/photo.txt",), r"\(best\)"),
        (("checkpoints/2023/photo.txt",), r"\(checkpoints\)"),
        (("a", "b", "c", "d"), r"\(a, b, c, \.\.\.\)"),
        (
            (CONFIG_FILE, "metrics.jsonl"),
            r"checkpoints is missing.*mount.*start over.*new --workdir",
        ),
        ((CONFIG_FILE, "checkpoints/lost+found/1"), "checkpoints is empty.*mount"),
        ((CONFIG_FILE, "checkpoints/20/state/x", "best/2023/photo.txt"), "best/2023 is not a"),
        ((CONFIG_FILE, "checkpoints/20/state/x", "checkpoints/21/y"), "checkpoints/21 is not a"),
    ],
)
def test_a_folder_of_others_is_refused(names, message, tmp_path):
    """Protects files that a run did not write: the error comes first, and nothing changes."""
    before = contents(write(tmp_path, *names))
    with pytest.raises(UserError, match=re.compile(message, re.DOTALL)):
        check_folder(tmp_path)
    assert contents(tmp_path) == before


def test_odd_files_are_refused(tmp_path):
    """Protects dangling links, and a user's file called `lock`, which a run would empty."""
    (tmp_path / "lock").write_text("the code is 1234")
    with pytest.raises(UserError, match=r"other files \(lock\)"):
        check_folder(tmp_path)
    (tmp_path / "lock").unlink()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"other files \(link\)"):
        check_folder(tmp_path)


def test_a_file_and_the_output_of_the_shell(tmp_path, monkeypatch):
    """Protects `netzoo train --workdir W > W/log`; a workdir that is a file is refused."""
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr("sys.__stdout__", log)
        check_folder(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        check_folder(tmp_path / "log")


def test_only_a_run_without_a_first_checkpoint_starts_over(tmp_path):
    """Protects the log: a run that once had a checkpoint never starts over by itself."""
    config = tmp_path / CONFIG_FILE
    checkpoints = Checkpoints(tmp_path, keep=1)
    config.touch()
    check_folder(tmp_path)
    checkpoints.save(1, state_at(1), positions())
    checkpoints.close()
    check_folder(tmp_path)
    os.rename(tmp_path / "checkpoints" / "1", tmp_path / "elsewhere")
    with pytest.raises(UserError, match="lost its checkpoints"):
        check_folder(tmp_path)


def test_best_weights_leave_other_files_alone(tmp_path):
    """Protects a file in `best/`; the best weights replace only their own folder."""
    other = write(tmp_path, "best/notes.txt") / "best" / "notes.txt"
    for step in (1, 2):
        best = BestCheckpoint(tmp_path)
        best.save(step, {"ema": {"x": jnp.zeros(2)}}, step / 2)
        best.close()
    assert sorted(path.name for path in other.parent.iterdir()) == ["2", "notes.txt"]


@pytest.mark.parametrize(
    ("names", "begun"),
    [
        ((), False),
        ((CONFIG_FILE, f"checkpoints/{FRESH_FILE}", "metrics.jsonl"), False),
        ((CONFIG_FILE, f"checkpoints/{FRESH_FILE}", "checkpoints/2/state/x"), True),  # killed there
        ((CONFIG_FILE, "checkpoints/2/state/x"), True),
        ((CONFIG_FILE, "metrics.jsonl"), True),  # its checkpoints are lost
    ],
)
def test_a_run_has_begun_with_its_first_checkpoint(names, begun, tmp_path):
    """Protects checkpoints from another configuration, and lets a refused run be corrected."""
    assert has_begun(write(tmp_path, *names)) == begun
