"""The files of a checkpoint are data: none is unpickled, and each damage gives one message."""

import json
import os
import pickle
import subprocess
import sys

import grain
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from netzoo.errors import UserError
from netzoo.workdir.checkpoint import Checkpoints, restore_variables
from tests.weights.formats.test_read import Attack

STATE = {"params": {"x": jnp.arange(3.0)}, "model_state": {}, "ema": None}


def test_nothing_in_a_checkpoint_is_run(tmp_path, capsys):
    """Neither Orbax, nor TensorStore, nor the position in the data reads a pickle."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    iterator = iter(grain.MapDataset.range(9).to_iter_dataset())
    checkpoints.save(1, STATE, iterator)
    checkpoints.close()
    marker = tmp_path / "marker"
    files = [p for p in (tmp_path / "checkpoints").rglob("*") if p.is_file()]
    assert any(path.name.startswith("process_") for path in files)
    for path in files:
        sound = path.read_bytes()
        path.write_bytes(pickle.dumps(Attack(marker)))
        for read in (restore_variables, lambda folder: _restore(folder, iterator)):
            try:
                read(tmp_path)
            except UserError as error:
                assert "checkpoint" in str(error)
        path.write_bytes(sound)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Attack(marker)))
    assert marker.exists(), "the attack is one"
    np.testing.assert_array_equal(restore_variables(tmp_path)[2]["params"]["x"], [0, 1, 2])


def _restore(folder, iterator):
    checkpoints = Checkpoints(folder, keep=1)
    try:
        checkpoints.restore(STATE, iterator)
    finally:
        checkpoints.close()


@pytest.mark.parametrize("pattern", ["process_*.json", "_METADATA"])
def test_damage_of_a_checkpoint_is_one_message(tmp_path, pattern):
    """The position and the description beside the arrays are read by JSON."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    iterator = iter(grain.MapDataset.range(9).to_iter_dataset())
    checkpoints.save(1, STATE, iterator)
    checkpoints.close()
    [path] = (tmp_path / "checkpoints").rglob(pattern)
    path.write_text('{"a": ')
    with pytest.raises(UserError, match="no checkpoint can be read"):
        _restore(tmp_path, iterator)


@pytest.mark.parametrize(
    "pattern", ["checksums.json", "_METADATA", "_CHECKPOINT_METADATA", "process_*.json", "d/*"]
)
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_nothing_in_a_checkpoint_is_waited_for(tmp_path, pattern, kind, capsys):
    """A FIFO without a writer, or an endless device, in place of a file."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, STATE, iter(grain.MapDataset.range(9).to_iter_dataset()))
    checkpoints.close()
    path = next((tmp_path / "checkpoints").rglob(pattern))
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match="no last checkpoint"):
        restore_variables(tmp_path)
    assert "expected a file or a folder" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"shape": [2**40]}, {"chunks": [2**40]}])
def test_sizes_are_checked_before_memory_is_allocated(change, tmp_path, capsys):
    """TensorStore ends the process when it cannot allocate what a description claims."""
    folder = tmp_path / "checkpoints" / "1"
    folder.mkdir(parents=True)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=False)) as writer:
        writer.save(folder / "state", ocp.args.PyTreeSave(STATE))
    assert restore_variables(tmp_path)[0] == 1
    [path] = folder.rglob(".zarray")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match="no last checkpoint"):
        restore_variables(tmp_path)
    assert "claims to hold 4,398,046,511,104 bytes" in capsys.readouterr().err


def test_a_process_that_dies_leaves_a_message():
    """A library may still end the process, or the system may kill it."""
    code = "import os; from netzoo.last_words import last_words\nwith last_words('it died'): {}"
    for act, message in (("os.abort()", "it died\n"), ("print('fine')", "")):
        command = [sys.executable, "-c", code.format(act)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.stderr.endswith(message) if message else not done.stderr
