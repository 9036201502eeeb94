"""Checkpoints: when one cannot be written, and the mean of several."""

import logging

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.workdir import checkpoint
from netzoo.workdir.checkpoint import BestCheckpoint, Checkpoints, restore_variables
from netzoo.workdir.checksums import CHECKSUMS_FILE, ChecksummedPath


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


def state_at(step: int):
    """The state after a step, with an average of its own."""
    weights = {"x": jnp.array([step, 10.0 * step])}
    return {"params": weights, "model_state": {}, "ema": {"params": {"x": jnp.zeros(2)}}}


def positions():
    return iter(grain.MapDataset.range(9).to_iter_dataset())


def steps_in(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


@pytest.fixture
def kept(tmp_path):
    """A run of four checkpoints that keeps three."""
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2, 3, 4):
        checkpoints.save(step, state_at(step), positions())
    checkpoints.close()
    return tmp_path


def test_other_users_of_the_loggers_are_heard(caplog):
    """Protects the log of a program that calls netzoo: only the lines of Orbax are filtered out."""
    caplog.set_level(logging.INFO)
    for name in ("absl", "asyncio"):
        logging.getLogger(name).warning("of a program, by %s", name)
        logging.getLogger(name).error("Task exception: orbax/checkpoint/x.py")
    assert [record.getMessage() for record in caplog.records] == [
        "of a program, by absl",
        "of a program, by asyncio",
    ]


def test_average_is_the_mean_of_the_weights_kept(kept):
    """Protects checkpoint averaging: it covers the trained weights of all kept steps.

    Sums of small integers are exact.
    """
    step, which, variables = restore_variables(kept, "average")
    assert (step, which) == (4, "mean of 3")
    np.testing.assert_array_equal(variables["params"]["x"], [3, 30])


def test_only_the_weights_are_read(tmp_path, monkeypatch):
    """Protects the start of a prediction: it does not read the state of the optimizer."""
    parts, restore = [], checkpoint._restore

    def noted(folder, described):
        parts.append({*described})
        return restore(folder, described)

    monkeypatch.setattr(checkpoint, "_restore", noted)
    average = {"params": {"x": jnp.zeros(2)}}
    for name, ema, kind, x in (("a", average, "ema", [0, 0]), ("b", {}, "params", [1, 10])):
        checkpoints = Checkpoints(tmp_path / name, keep=1)
        state = {**state_at(1), "ema": ema, "opt_state": {"x": jnp.ones(2)}}
        checkpoints.save(1, state, positions())
        checkpoints.close()
        _, read, variables = restore_variables(tmp_path / name)
        assert (read, [*variables]) == (kind, ["params"])
        np.testing.assert_array_equal(variables["params"]["x"], x)
        assert restore_variables(tmp_path / name, "average")[1] == "mean of 1"
    assert parts == [{"ema"}, *3 * [{"params", "model_state"}]]


def test_an_extra_checkpoint_displaces_no_regular_one(tmp_path, capsys):
    """Protects the average: it covers the regular steps, and a signal removes none of them.

    The newest checkpoint is an extra one, until the next one replaces it.
    """
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step, regular in ((1, False), (2, True), (3, True), (4, True), (5, False)):
        checkpoints.save(step, state_at(step), positions(), regular=regular)
        if step == 1:
            checkpoints._manager.wait_until_finished()
            with pytest.raises(UserError, match=r"no average checkpoint.*checkpoint\.every_steps"):
                restore_variables(tmp_path, "average")
    checkpoints.close()
    assert steps_in(tmp_path / "checkpoints") == [3, 4, 5]
    step, which, variables = restore_variables(tmp_path, "average")
    assert (step, which) == (4, "mean of 2")
    np.testing.assert_array_equal(variables["params"]["x"], [3.5, 35])
    assert restore_variables(tmp_path)[0] == 5
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.restore(state_at(0), positions())[0] == 5
    checkpoints.save(6, state_at(6), positions())
    checkpoints.close()
    assert steps_in(tmp_path / "checkpoints") == [4, 6]


def test_misspelt_checkpoint_is_refused(kept):
    """Protects callers from a misspelt kind of weights."""
    with pytest.raises(UserError, match=r"'avrage'.*average"):
        restore_variables(kept, "avrage")


def test_devices_that_cannot_be_used_are_not_a_damaged_checkpoint(kept, monkeypatch, capsys):
    """Protects users whose JAX_PLATFORMS is wrong from looking for damage."""

    def fail():
        raise RuntimeError("Unable to initialize backend")

    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(RuntimeError, match="Unable to initialize backend"):
        restore_variables(kept)
    assert "damaged" not in capsys.readouterr().err


def test_average_leaves_a_damaged_checkpoint_out(kept, capsys):
    """Protects averaging from a damaged checkpoint, which is reported."""
    for path in (kept / "checkpoints" / "3" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    step, which, variables = restore_variables(kept, "average")
    assert (step, which) == (4, "mean of 2")
    np.testing.assert_array_equal(variables["params"]["x"], [3, 30])
    assert "checkpoints/3" in capsys.readouterr().err


def flip_a_bit(folder, pattern):
    """Change the last byte of the largest file that matches."""
    path = max(folder.glob(pattern), key=lambda path: path.stat().st_size)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("pattern", ["state/ocdbt.process_0/d/*", "data/*.json", CHECKSUMS_FILE])
def test_a_flipped_bit_is_noticed(kept, capsys, pattern):
    """Protects from altered data, which TensorStore reads without an error.

    Resuming and evaluation use the previous checkpoint.
    """
    flip_a_bit(kept / "checkpoints" / "4", pattern)
    step, _, _ = restore_variables(kept)
    assert step == 3
    checkpoints = Checkpoints(kept, keep=3)
    step, state = checkpoints.restore(state_at(0), positions())
    checkpoints.close()
    assert step == 3
    np.testing.assert_array_equal(state["params"]["x"], [3, 30])
    printed = capsys.readouterr().err.splitlines()
    assert ["checkpoints/4: " in line for line in printed] == [True, True]


def test_nothing_older_goes_before_the_newer_is_complete(tmp_path, monkeypatch):
    """Protects the last checkpoint from a save that fails at its end, with keep=1."""
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, state_at(1), positions())
    checkpoints.save(2, state_at(2), positions())

    async def fail(self):
        raise OSError("no")

    checkpoints.save(3, state_at(3), positions())  # waits for step 2
    checkpoints._manager.wait_until_finished()
    assert steps_in(checkpoints.directory) == [3]
    monkeypatch.setattr(ChecksummedPath, "finalize", fail)
    checkpoints.save(4, state_at(4), positions())
    with pytest.raises(UserError, match="no checkpoint can be written"):
        checkpoints.close()
    assert steps_in(checkpoints.directory) == [3]


def test_what_a_killed_process_left_is_cleared(kept):
    """Protects the average and the disk: half a step, and one that was about to be deleted."""
    folder = kept / "checkpoints"
    (folder / "5.orbax-checkpoint-tmp").mkdir()
    checkpoints = Checkpoints(kept, keep=2)
    step, _ = checkpoints.restore(state_at(0), positions())
    checkpoints.close()
    assert step == 4
    assert sorted(path.name for path in folder.iterdir()) == ["3", "4"]


def test_best_is_decided_as_without_interruption(tmp_path):
    """Protects "best" across a kill.

    Repeated steps, and equal or lower values, do not replace it.
    """
    best = BestCheckpoint(tmp_path)
    best.save(10, {"x": jnp.ones(2)}, 0.5)
    best.save(20, {"x": jnp.full(2, 2.0)}, 0.6)
    best.close()
    best = BestCheckpoint(tmp_path)
    for step, value in ((10, 0.5), (20, 0.6), (30, 0.6), (40, 0.1), (50, float("nan"))):
        best.save(step, {"x": jnp.zeros(2)}, value)
    best.close()
    assert steps_in(tmp_path / "best") == [20]
    best = BestCheckpoint(tmp_path)
    best.save(60, {"x": jnp.zeros(2)}, 0.7)
    best.close()
    assert steps_in(tmp_path / "best") == [60]


@pytest.mark.parametrize("pattern", ["state/ocdbt.process_0/d/*", "metrics/metrics"])
def test_damaged_best_is_named_and_replaced(tmp_path, capsys, pattern):
    """Protects a run with damaged best weights, which continues without them."""
    best = BestCheckpoint(tmp_path)
    best.save(10, {"x": jnp.ones(2)}, 0.5)
    best.close()
    flip_a_bit(tmp_path / "best" / "10", pattern)
    best = BestCheckpoint(tmp_path)
    assert "best/10" in capsys.readouterr().err
    best.save(20, {"x": jnp.ones(2)}, 0.4)
    best.close()
    assert steps_in(tmp_path / "best") == [20]
