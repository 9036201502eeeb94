"""Checkpoints: when one cannot be written, and the mean of several."""

import grain
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.workdir.checkpoint import BestCheckpoint, Checkpoints, load_weights


def test_a_full_disk_is_one_error_that_says_how_to_go_on(tmp_path, monkeypatch):
    """Protects users from a hundred lines of traceback; the errors of Orbax come as ValueError."""
    best = BestCheckpoint(tmp_path)

    def full(*args, **kwargs):
        raise ValueError("RESOURCE_EXHAUSTED: ... No space left on device [os_error_code='28']")

    monkeypatch.setattr(best._manager, "save", full)
    with pytest.raises(UserError, match=r"disk is full; free space.*same command continues"):
        best.save(1, {"ema": {"x": jnp.zeros(2)}}, 0.5)
    monkeypatch.undo()
    best.close()


@pytest.fixture
def kept(tmp_path):
    """A run of four checkpoints that keeps three, with an average of its own."""
    checkpoints = Checkpoints(tmp_path, keep=3)
    iterator = iter(grain.MapDataset.range(9).to_iter_dataset())
    for step in (1, 2, 3, 4):
        weights = {"x": jnp.array([step, 10.0 * step])}
        state = {"params": weights, "model_state": {}, "ema": {"params": {"x": jnp.zeros(2)}}}
        checkpoints.save(step, state, iterator)
    checkpoints.close()
    return tmp_path


def test_average_is_the_mean_of_the_weights_kept(kept):
    """Protects checkpoint averaging: all that are kept, as trained, and the newest names the step.

    Sums of small whole numbers: exact.
    """
    step, which, variables = load_weights(kept, "average")
    assert (step, which) == (4, "mean of 3")
    np.testing.assert_array_equal(variables["params"]["x"], [3, 30])


def test_average_leaves_a_damaged_checkpoint_out(kept, capsys):
    """Protects evaluation from one bad file: the others are averaged, and it is named."""
    for path in (kept / "checkpoints" / "3" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    step, which, variables = load_weights(kept, "average")
    assert (step, which) == (4, "mean of 2")
    np.testing.assert_array_equal(variables["params"]["x"], [3, 30])
    assert "checkpoints/3" in capsys.readouterr().out
