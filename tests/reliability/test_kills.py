"""The tools that kill and damage runs: their targets and comparisons."""

import json

import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest

from reliability import kills, runs
from reliability.config import BREAKS, STEPS, get_config


def test_kills_are_drawn_from_the_seed():
    """Protects the table: a seed determines the moments, and every phase is a target."""
    drawn = [kills.draw(0, number, 5.0) for number in range(50)]
    assert drawn == [kills.draw(0, number, 5.0) for number in range(50)]
    assert drawn != [kills.draw(1, number, 5.0) for number in range(50)]
    assert {place for place, _, _ in drawn} == set(kills.NAMES)
    assert set(kills.BROKEN_AT) < set(BREAKS)
    for place, aim, process in drawn:
        assert 0 <= aim <= kills.BROKEN_AT.get(place, 100) and process == 0


def test_any_process_of_a_job_is_killed():
    """Protects the table of several processes: SIGKILL only, and never where a process is idle."""
    drawn = [kills.draw(0, number, 5.0, processes=4) for number in range(48)]
    assert {kill.process for kill in drawn} == {0, 1, 2, 3}
    assert {kill.place for kill in drawn} == set(kills.NAMES) - kills.SIGNAL_PLACES
    assert {kill.process for kill in drawn if kill.place in kills.IN_PROCESS_0} == {0}


def test_every_request_of_a_run_in_a_bucket_is_a_target():
    """Protects the table of a bucket: no place is aimed at beyond the requests of a whole run."""
    requests = dict.fromkeys(kills.REQUESTS, 3)
    drawn = [kills.draw(0, number, 5.0, requests=requests) for number in range(39)]
    assert {kill.place for kill in drawn} == set(kills.NAMES_IN_BUCKET)
    assert {kill.aim for kill in drawn if kill.place in requests} == {1, 2, 3}
    assert set(kills.NAMES_IN_BUCKET) - set(requests) - {"time"} <= set(BREAKS)


def test_breaking_changes_no_configuration(monkeypatch):
    """Protects the comparison: killed and uninterrupted runs have the same configuration."""
    monkeypatch.setitem(BREAKS, "step", lambda number: None)
    assert get_config("step,3") == get_config()


@pytest.fixture
def finished(tmp_path):
    """Two equal folders that look like finished runs."""
    for name in ("one", "two"):
        folder = tmp_path / name
        last = folder / "checkpoints" / str(STEPS)
        with ocp.StandardCheckpointer() as writer:
            state = {"params": {"x": jnp.ones(2)}, "model_state": {}, "step": jnp.int32(STEPS)}
            writer.save(last / "state", state)
            writer.save(folder / "best" / "6" / "state", {"params": {"x": jnp.zeros(2)}})
        (last / "data").mkdir()
        (last / "data" / "process_0-of-1.json").write_text('{"next_index": 36}')
        lines = [
            {
                "kind": "train",
                "step": 1,
                "epoch": 1,
                "loss": 0.5,
                "timing": {"wall_seconds": len(name)},
            }
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return tmp_path / "one", tmp_path / "two"


def test_every_difference_is_seen(finished):
    """Protects "identical": leaves, position and log lines are compared, times are not."""
    one, two = finished
    assert runs.differences(one, two) == []
    log = (one / "metrics.jsonl").read_text()
    (one / "metrics.jsonl").write_text(log + log)
    (one / "checkpoints" / str(STEPS) / "data" / "process_0-of-1.json").write_text("{}")
    with ocp.StandardCheckpointer() as writer:
        params = {"x": jnp.array([1, 1 + 1e-7])}
        state = {"params": params, "model_state": {}, "step": jnp.int32(STEPS)}
        writer.save(one / "checkpoints" / str(STEPS) / "state", state, force=True)
    assert runs.differences(one, two) == ["params", "position", "average", "metrics"]
