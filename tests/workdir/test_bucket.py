"""Run folders in a bucket: the files, the lock, the log and the checkpoints."""

import hashlib
import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

from netzoo import buckets
from netzoo.buckets import BucketError, is_in_bucket
from netzoo.config import load_config
from netzoo.errors import UserError
from netzoo.files import (
    bytes_below,
    files_below,
    filling,
    read_bytes,
    read_text,
    replacing,
    sha256_of,
    write_text,
)
from netzoo.paths import run_path, user_path
from netzoo.workdir import LOCK_FILE, bucket_lock
from netzoo.workdir.checkpoint import Checkpoints, restore_variables
from netzoo.workdir.folder import FRESH_FILE, check_folder, has_begun
from netzoo.workdir.lock import check_held, lock_run, locked_error
from netzoo.workdir.metrics_log import MetricsWriter, read_metrics
from reliability.emulator import Fault
from tests.workdir.test_checkpoint import positions, state_at, steps_in
from tests.workdir.test_metrics_log import write_steps


def test_only_a_run_may_have_an_address(tmp_path):
    """Protects against a folder `gs:` on the disk, and addresses that netzoo cannot use."""
    assert not is_in_bucket(tmp_path) and run_path(tmp_path) == tmp_path
    wrong = (user_path, "gs://bucket/x"), (run_path, "s3://bucket/x"), (run_path, Path("gs://b/x"))
    for function, address in wrong:
        with pytest.raises(UserError, match="is an address"):
            function(address)
    for address in ("gs://", "gs://bucket", "gs://bucket/", "gs://no bucket/x"):
        with pytest.raises(UserError, match="expected gs://BUCKET/FOLDER"):
            run_path(address)


@pytest.mark.parametrize("character", "#*?[]")
def test_characters_that_are_patterns_are_refused(character):
    """Protects a run whose checkpoints could not be found again."""
    with pytest.raises(UserError, match="choose another name"):
        run_path(f"gs://bucket/a{character}b")


def test_missing_extra_is_named(monkeypatch):
    """Protects users without gcsfs from an error of a library."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"gs://bucket/x needs the extra gcs: pip install"):
        run_path("gs://bucket/x")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, "there is no such bucket"), (403, "no permission.*roles/"), (401, "no credentials")],
)
def test_a_bucket_that_cannot_be_used_is_one_clear_error(status, reason, emulator):
    """Protects users from tracebacks: the bucket is tried before anything else happens."""
    buckets._check.cache_clear()
    fault, message = Fault("GET", 9, status=status), f"gs://bucket: {reason}"
    with emulator.failing(fault), pytest.raises(BucketError, match=message):
        run_path("gs://bucket/x")
    assert str(run_path("gs://bucket/x/")) == "gs://bucket/x"


def test_files_are_whole_objects(bucket):
    """Protects every file of a run, and that an error while writing leaves the old one."""
    write_text(bucket / "a", "old")
    with replacing(bucket / "sub" / "b", "w") as file:
        file.write("ä\n")
        assert files_below(bucket) == [bucket / "a"]
    with pytest.raises(RuntimeError), replacing(bucket / "a") as file:
        file.write(b"new")
        raise RuntimeError
    assert (read_text(bucket / "a"), read_text(bucket / "sub" / "b")) == ("old", "ä\n")
    assert files_below(bucket) == [bucket / "a", bucket / "sub" / "b"]
    assert bytes_below(bucket) == 6
    with pytest.raises(UserError, match="over the limit of 2"):
        read_bytes(bucket / "a", 2)
    with pytest.raises(FileNotFoundError):
        read_bytes(bucket / "missing")
    with filling(bucket / "sub") as local:
        (local / "c").write_bytes(b"x" * 6_000_000)  # gcsfs reads in blocks of 5 MiB
    assert sha256_of(bucket / "sub" / "c") == hashlib.sha256(b"x" * 6_000_000).hexdigest()


def test_a_write_without_permission_names_the_object(bucket, emulator):
    """Protects users whose account may only read."""
    fault, message = Fault("POST", 9, status=403), f"{bucket}/a: no permission"
    with emulator.failing(fault), pytest.raises(BucketError, match=message):
        write_text(bucket / "a", "x")


def test_a_run_starts_only_beside_nothing(bucket):
    """Protects files of a user, and a run whose checkpoints were deleted."""
    check_folder(bucket)
    write_text(bucket / ".hidden", "")
    write_text(bucket / LOCK_FILE, "process 1 on x\n0\n")
    check_folder(bucket)
    with pytest.raises(UserError, match="holds no run"):
        load_config(bucket)
    write_text(bucket / "config.json", "{}")
    with pytest.raises(UserError, match="has lost its checkpoints"):
        check_folder(bucket)
    write_text(bucket / "checkpoints" / "no_checkpoint_yet", "")
    write_text(bucket / "checkpoints" / "2" / "state" / "half", "")
    check_folder(bucket)
    assert not has_begun(bucket)  # the step is incomplete
    write_text(bucket / "checkpoints" / "2" / "commit_success.txt", "")
    assert has_begun(bucket)
    write_text(bucket / "checkpoints" / "3" / "mine", "")
    with pytest.raises(UserError, match="3 is not a checkpoint of netzoo"):
        check_folder(bucket)


def test_a_foreign_folder_among_the_checkpoints_is_refused(bucket):
    """Orbax would delete a folder that lacks the object of a complete checkpoint."""
    write_text(bucket / "config.json", "{}")
    write_text(bucket / "checkpoints" / FRESH_FILE, "")
    write_text(bucket / "checkpoints" / "7" / "state" / "part", "of a killed save")
    check_folder(bucket)
    write_text(bucket / "checkpoints" / "photographs" / "a.jpg", "")
    with pytest.raises(UserError, match=r"photographs is not a checkpoint of netzoo; move it"):
        check_folder(bucket)


def test_a_foreign_file_is_an_obstacle(bucket):
    """Protects a folder that holds something else."""
    write_text(bucket / "thesis.txt", "")
    with pytest.raises(UserError, match=r"holds no run of netzoo.*thesis\.txt"):
        check_folder(bucket)


@pytest.fixture
def quick_beats(monkeypatch):
    """Heartbeats every 0.05 s, so that a lock expires after 0.3 s."""
    monkeypatch.setattr(bucket_lock, "BEAT_SECONDS", 0.05)


def test_a_lock_with_heartbeats_is_held(bucket, quick_beats, capsys):
    """Protects a run from a second process, on any machine; the user learns which."""
    with lock_run(bucket) as lock:
        assert lock_run(bucket) is None
        text = str(locked_error(bucket))
        assert "waiting for it to expire" in capsys.readouterr().err
        check_held(lock)
    assert "heartbeat 0 s ago) trains there" in text and f"{bucket} is locked: process" in text
    assert files_below(bucket) == []
    lock_run(bucket).close()


def test_a_lock_without_heartbeats_expires(bucket, quick_beats):
    """Protects a run whose process was killed, also from a clock that is ahead."""
    for written in (time.time() - 3600, time.time() - 0.2):
        write_text(bucket / LOCK_FILE, f"process 1 on x\n{written}\n")
        with lock_run(bucket) as lock:
            check_held(lock)


def test_a_process_that_lost_its_lock_stops(bucket, quick_beats):
    """Protects a run from a process that was paused for longer than its lock is valid."""
    lock = lock_run(bucket)
    write_text(bucket / LOCK_FILE, f"process 7 on other\n{time.time()}\n")
    lock._thread.join(timeout=10)  # it ends at the next heartbeat
    with pytest.raises(UserError, match=r"was taken by process 7 on other \(last heartbeat"):
        check_held(lock)
    with pytest.raises(RuntimeError), MetricsWriter(bucket, resume_step=None, lock=lock) as writer:
        write_steps(writer, [1])
        raise RuntimeError
    assert read_bytes(bucket / "metrics.jsonl") == b""  # not written after the loss
    lock.close()
    assert read_text(bucket / LOCK_FILE).startswith("process 7")  # not deleted


def test_a_lock_survives_an_answer_that_is_lost(bucket, emulator):
    """Protects the holder, whose repeated write meets its own object."""
    with emulator.failing(Fault("POST .*/lock", cut=True, stored=True)):
        lock = lock_run(bucket)
    check_held(lock)
    lock.close()
    assert files_below(bucket) == []


def test_requests_for_the_lock_are_repeated_five_times(bucket):
    """Protects the start of a run from 32 repetitions, which take up to three quarters of an hour.

    The test reads the setting: five repetitions take half a minute.
    """
    spec = buckets.key_value_store(bucket).spec(retain_context=True).to_json()
    assert spec["gcs_request_retries"] == {"max_retries": 5}


def test_log_is_in_the_bucket_after_sync(bucket, tmp_path):
    """Protects the log of a killed run: it has every line up to the last checkpoint."""
    with MetricsWriter(tmp_path, resume_step=None) as expected:
        write_steps(expected, range(1, 9))
    killed = MetricsWriter(bucket, resume_step=None)
    write_steps(killed, range(1, 6))
    killed.sync()
    write_steps(killed, [6])
    assert len(read_metrics(bucket / "metrics.jsonl")) == 5
    with MetricsWriter(bucket, resume_step=4) as writer:
        assert len(read_metrics(bucket / "metrics.jsonl")) == 4
        write_steps(writer, range(5, 9))
    assert read_bytes(bucket / "metrics.jsonl") == (tmp_path / "metrics.jsonl").read_bytes()
    assert len(files_below(bucket / "tensorboard")) == 2
    with MetricsWriter(bucket, resume_step=None):
        assert read_bytes(bucket / "metrics.jsonl") == b""
    assert len(files_below(bucket / "tensorboard")) == 1


def save(workdir, steps):
    checkpoints = Checkpoints(workdir, keep=2)
    for step in steps:
        checkpoints.save(step, state_at(step), positions())
    checkpoints.close()


def test_checkpoints_are_kept_restored_and_checked(bucket, emulator, capsys):
    """Protects the states of a run: altered data is found, and an incomplete step is ignored."""
    save(bucket, (1, 2, 3))
    assert steps_in(bucket / "checkpoints") == [2, 3]
    write_text(bucket / "checkpoints" / "4" / "state" / "half", "")  # what a kill leaves
    step, which, variables = restore_variables(bucket, "average")
    assert (step, which) == (3, "mean of 2")
    np.testing.assert_array_equal(variables["params"]["x"], [2.5, 25])
    [position] = (bucket / "checkpoints" / "3" / "data").glob("process_*.json")
    write_text(position, "{}")
    checkpoints = Checkpoints(bucket, keep=2)
    step, state = checkpoints.restore(state_at(0), positions())
    checkpoints.close()
    assert step == 2 and state["params"]["x"].tolist() == [2, 20]
    assert "has been altered" in capsys.readouterr().err
    assert steps_in(bucket / "checkpoints") == [2]


def test_a_checkpoint_that_cannot_be_reached_is_not_deleted(bucket, emulator):
    """Protects the newest checkpoint from an error of the network or of permissions."""
    save(bucket, (1, 2))
    checkpoints = Checkpoints(bucket, keep=2)
    fault = Fault("GET /download/.*/checkpoints/2/", 99, status=403)
    message = "checkpoints/2 cannot be read: .*no permission"
    with emulator.failing(fault), pytest.raises(UserError, match=message):
        checkpoints.restore(state_at(0), positions())
    assert checkpoints.restore(state_at(0), positions())[0] == 2
    checkpoints.close()
