"""The files of a checkpoint are data: none is unpickled, and each damage gives one message."""

import pickle

import grain
import jax.numpy as jnp
import numpy as np
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
