"""Checkpoints: what happens when one cannot be written."""

import jax.numpy as jnp
import pytest

from netzoo.errors import UserError
from netzoo.workdir.checkpoint import BestCheckpoint


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
