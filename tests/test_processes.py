"""Decisions of a job's processes; threads act as processes, a dictionary as the service."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from netzoo import processes
from netzoo.errors import UserError
from netzoo.processes import Job, decide, differences, telling_others


class Service:
    """The calls of JAX's service that `netzoo.processes` uses."""

    def __init__(self):
        self.values, self.changed, self.timeouts = {}, threading.Condition(), 0

    def key_value_set(self, key, value):
        with self.changed:
            assert key not in self.values, "JAX refuses a second value"
            self.values[key] = value
            self.changed.notify_all()

    def blocking_key_value_get(self, key, timeout_in_ms):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.values, timeout_in_ms / 1000):
                self.timeouts += 1
                self.changed.notify_all()
                raise jax.errors.JaxRuntimeError(f"DEADLINE_EXCEEDED: GetKeyValue() {key}")
            return self.values[key]

    def key_value_dir_get(self, folder):
        return [item for item in self.values.items() if item[0].startswith(folder)]


@pytest.fixture
def jobs(monkeypatch):
    """Three processes, which notice failures without delay."""
    monkeypatch.setattr(processes, "_POLL_MS", 10)
    service = Service()
    return [Job(service, index, 3) for index in range(3)]


def in_all(jobs, work):
    """Return the result or the error of `work(job)` for each process."""

    def caught(job):
        try:
            with telling_others(job):
                return work(job)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(caught, jobs))


def test_all_processes_get_the_same_decisions(jobs):
    """Protects a job from processes that go on differently, also after the first decision."""
    found = in_all(jobs, lambda job: [decide(job.index, rule, job) for rule in (max, min, list)])
    assert found == [[2, 0, [0, 1, 2]]] * 3


def test_one_process_decides_alone():
    """Protects runs of one process, which has no service."""
    assert processes.anyone(True) and not processes.anyone(False)
    processes.check_same({"seed": 0})
    processes.check_same_arrays("weights", {"x": np.ones(2)})


def test_a_failed_process_ends_the_others(jobs):
    """Protects a job from waiting for a process that has found its data or settings invalid."""

    def work(job):
        if job.index == 2:
            raise UserError("no data here")
        return decide(0, max, job)

    *others, failed = in_all(jobs, work)
    assert str(failed) == "no data here"
    for error in others:
        assert str(error) == "another process of the job has failed. process 2: no data here"


def test_a_slow_process_is_waited_for(jobs):
    """Protects a process that prepares its data longer than a poll takes."""

    def work(job):
        if job.index == 1:
            with job.client.changed:
                assert job.client.changed.wait_for(lambda: job.client.timeouts > 2, timeout=10)
        return decide(job.index, sum, job)

    assert in_all(jobs, work) == [3, 3, 3]


def test_differences_name_keys_values_and_processes():
    """Protects users with many processes: one line for a key, whatever their number."""
    values = [{"seed": 0, "same": 1}] * 5 + [{"seed": 7, "same": 1}, {"seed": 0, "more": "x"}]
    assert differences(values) == [
        "  more: absent in process 0 and 5 others, 'x' in process 6",
        "  same: 1 in process 0 and 5 others, absent in process 6",
        "  seed: 0 in process 0 and 5 others, 7 in process 5",
    ]


def test_shared_values_leave_out_what_belongs_to_a_machine():
    """Protects jobs whose machines have own copies of the data, and those with other settings."""
    from netzoo.config import default_config, shared_values

    config, other = default_config(), default_config()
    config.data.source, other.data.source = "folder:/a", "folder:/b"
    other.data.update(data_dir="/c", cache="encoded", num_threads=7)
    assert shared_values(config) == shared_values(other)
    other.seed, other.data.source = 1, "tfds:tf_flowers"
    before, after = shared_values(config), shared_values(other)
    assert {key for key in before if before[key] != after[key]} == {"seed", "data.source"}
