"""Whole runs: resuming, stopping, and their files."""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import chex
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from netzoo.config import load_config
from netzoo.errors import UserError
from netzoo.training import train
from netzoo.training.loop import TrainingLoop
from netzoo.training.signals import SIGNALS, StopSignal
from netzoo.workdir.checkpoint import restore_variables
from netzoo.workdir.lock import lock_run
from netzoo.workdir.metrics_log import read_metrics
from tests.conftest import slow, tiny_config
from tests.training.runs import ROOT, assert_same_run, damage, run, start


# Checkpoints are saved every 3 steps, and an epoch has 5 steps. Step 8 is in the middle of an epoch
# and between checkpoints, step 6 is while its checkpoint is written, and step 2 is before the first
# checkpoint.
@pytest.mark.parametrize("step", [slow(2), slow(6), 8])
def test_killed_run_resumes_bit_identically(step, pictures, whole, tmp_path):
    """Protects resuming: SIGKILL and the same command give an identical run."""
    killed = start(pictures, tmp_path, step, "SIGKILL")
    assert killed.returncode == -signal.SIGKILL
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["step"] == step
    resumed = start(pictures, tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert_same_run(tmp_path, whole)


@pytest.mark.slow
def test_sigterm_saves_and_says_how_to_go_on(pictures, whole, tmp_path, capsys):
    """Protects preempted jobs: one checkpoint, status 143, and the continuation is exact."""
    stopped = start(pictures, tmp_path, 7, "SIGTERM")
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stdout + stopped.stderr
    assert "The same command continues" in stopped.stdout
    # The signal comes while step 8 computes; the run finishes this step and saves it.
    steps = ocp.utils.checkpoint_steps(tmp_path / "checkpoints")
    assert max(steps) in (8, 9)
    assert train(tiny_config(pictures), tmp_path) == 0
    assert f"continuing at step {max(steps)}" in capsys.readouterr().out
    assert_same_run(tmp_path, whole)


def test_average_is_the_same_after_a_signal(pictures, whole, tmp_path, monkeypatch):
    """Protects `--checkpoint average` and the kept steps from an extra checkpoint.

    The signal comes after step 18, which has a regular checkpoint, while step 19 computes.
    """
    finish_step = TrainingLoop.finish_step

    def finish_and_signal(self, step, *rest):
        finish_step(self, step, *rest)
        if step == 18:
            signal.raise_signal(signal.SIGUSR1)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "finish_step", finish_and_signal)
        assert train(tiny_config(pictures), tmp_path) == 128 + signal.SIGUSR1
    folder = tmp_path / "checkpoints"
    assert sorted(ocp.utils.checkpoint_steps(folder)) == [15, 18, 19]
    assert restore_variables(tmp_path, "average")[:2] == (18, "mean of 2")
    assert train(tiny_config(pictures), tmp_path) == 0
    assert sorted(ocp.utils.checkpoint_steps(folder)) == [18, 20]
    chex.assert_trees_all_equal(
        restore_variables(tmp_path, "average"), restore_variables(whole, "average")
    )
    assert_same_run(tmp_path, whole)


def test_truncated_checkpoint_falls_back_to_the_one_before(pictures, whole, tmp_path, capsys):
    """Protects the run from a damaged disk: it uses the older checkpoint and says so."""
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    older, newest = sorted(ocp.utils.checkpoint_steps(workdir / "checkpoints"))[-2:]
    damage(workdir / "checkpoints" / str(newest) / "state")
    assert train(tiny_config(pictures), workdir) == 0
    printed = capsys.readouterr()
    assert f"checkpoint damaged, left out: {workdir}/checkpoints/{newest}" in printed.err
    assert f"continuing at step {older}" in printed.out
    assert_same_run(workdir, whole)


def test_nothing_readable_is_an_error_that_keeps_everything(whole, pictures, tmp_path):
    """Protects damaged runs: without an intact checkpoint, the run stops and deletes nothing."""
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    folders = [p for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()]
    for folder in folders:
        damage(folder / "state")
    log = (workdir / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match="no checkpoint can be read"):
        train(tiny_config(pictures), workdir)
    assert all(folder.exists() for folder in folders)
    assert (workdir / "metrics.jsonl").read_bytes() == log


def test_lost_checkpoints_are_an_error_that_keeps_the_log(whole, pictures, tmp_path):
    """Protects the log while the disk of the checkpoints is not mounted."""
    workdir = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints")
    log = (workdir / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match="has lost its checkpoints"):
        train(tiny_config(pictures), workdir)
    assert (workdir / "metrics.jsonl").read_bytes() == log


def test_a_run_writes_through_no_link(whole, pictures, tmp_path):
    """Protects files elsewhere from the links in a stranger's run: they are replaced or refused."""
    workdir, outside = shutil.copytree(whole, tmp_path / "run"), tmp_path / "outside"
    outside.mkdir()
    for path in [path for path in workdir.iterdir() if path.is_file()]:
        path.rename(outside / path.name)
        path.symlink_to(outside / path.name)
    before = {path: path.read_bytes() for path in outside.iterdir()}
    with pytest.raises(UserError, match="lock must be a regular file"):
        train(tiny_config(pictures), workdir)
    (workdir / "lock").unlink()
    assert train(tiny_config(pictures), workdir) == 0
    assert {path: path.read_bytes() for path in outside.iterdir()} == before
    (workdir / "best").rename(outside / "best")
    (workdir / "best").symlink_to(outside / "best")
    with pytest.raises(UserError, match="best is a link to"):
        train(tiny_config(pictures), workdir)


def test_what_a_run_leaves_behind(whole):
    """Protects the layout of a run folder, which eval, predict and record read."""
    names = {path.name for path in whole.iterdir()}
    expected = {"config.json", "classes.json", "environment.json", "metrics.jsonl"}
    assert names >= expected | {"curves.png", "checkpoints", "tensorboard"}
    assert json.loads((whole / "classes.json").read_text()) == ["daisy", "roses", "tulips"]
    assert load_config(whole).train.epochs == 4
    evaluations = [line for line in read_metrics(whole / "metrics.jsonl") if line["kind"] == "eval"]
    assert [line["step"] for line in evaluations] == [10, 20]
    assert set(evaluations[0]) - {"kind", "step", "epoch", "weights"} == {
        f"{split}_{metric}" for split in ("train", "validation") for metric in ("accuracy", "loss")
    }


def test_nothing_is_wider_than_the_umask(whole):
    """Protects private data: the run has umask 027, so its files may have none of these bits.

    The test itself created the folder.
    """
    paths = list(whole.rglob("*"))
    assert len(paths) > 50
    wide = [path for path in paths if path.stat().st_mode & 0o027]
    assert not wide


def test_eval_and_predict_read_a_run(whole, pictures, tmp_path):
    """Protects evaluation and prediction of a run: eval.json, figure and JSON."""
    workdir = shutil.copytree(whole, tmp_path / "run")
    done = run("eval.py", "--workdir", workdir, "--config.evaluation.batch_size=3")
    assert done.returncode == 0, done.stderr
    report = json.loads((workdir / "eval.json").read_text())
    assert (report["count"], report["weights"], report["step"]) == (11, "ema", 20)
    assert (workdir / "confusion_matrix.png").stat().st_size > 10_000
    done = run(
        "predict.py", "--workdir", workdir, "--json", pictures / "test" / "daisy", "setup.cfg"
    )
    assert done.returncode == 1, "setup.cfg is not a picture"
    assert "setup.cfg" in done.stderr
    predictions = json.loads(done.stdout)
    assert len(predictions) == 4
    assert sum(entry["probability"] for entry in predictions[0]["predictions"]) == pytest.approx(
        1, abs=1e-5
    )


def test_run_that_another_process_holds_is_refused(whole, pictures):
    """Protects a run from two simultaneous trainings: the error comes before any change."""
    with lock_run(whole), pytest.raises(UserError, match=rf"process {os.getpid()} on \S+ trains"):
        train(tiny_config(pictures), whole)


def test_another_configuration_is_refused_before_it_starts(whole, pictures):
    """Protects a run from another configuration; the message has keys and values."""
    config = tiny_config(pictures)
    config.optimizer.learning_rate = 0.5
    before = sorted(path.stat().st_mtime_ns for path in whole.rglob("*"))
    with pytest.raises(UserError, match=r"optimizer\.learning_rate: the run has 0\.001, now 0\.5"):
        train(config, whole)
    assert before == sorted(path.stat().st_mtime_ns for path in whole.rglob("*"))


@pytest.mark.parametrize(("mode", "failed"), [("stop", 2), ("skip", 11)])
def test_non_finite_numbers_stop_and_keep_the_last_good_checkpoint(
    mode, failed, pictures, tmp_path
):
    """Protects the checkpoints from NaN: the step is named, and no checkpoint comes after it.

    The first update is zero (warm-up), and the second overflows. With skipping, it is the first of
    ten.
    """
    config = tiny_config(pictures)
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 1e30
    config.checkpoint.every_steps = 1
    config.train.on_nonfinite = mode
    with pytest.raises(UserError, match=rf"step {failed}: loss .*learning_rate"):
        train(config, tmp_path)
    steps = ocp.utils.checkpoint_steps(tmp_path / "checkpoints")
    assert list(steps) == [1]
    _, _, weights = restore_variables(tmp_path)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights))


@pytest.mark.slow
def test_batch_that_devices_cannot_divide(pictures, tmp_path):
    """Protects users of several devices: the error comes at once and names valid sizes."""
    code = (
        "from netzoo.training import train; from tests.conftest import tiny_config;"
        f"config = tiny_config({str(pictures)!r}); config.evaluation.batch_size = 6;"
        f"train(config, {str(tmp_path)!r})"
    )
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert "is 8, which 3 devices cannot divide evenly; use 6 or 9" in done.stderr
    assert not any(tmp_path.iterdir())


def test_signals_are_given_back_after_the_training():
    """Protects notebooks and scripts: Ctrl-C works again after `netzoo.train` returns."""
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` leaves it ignored
    before, said = [signal.getsignal(number) for number in SIGNALS], []
    try:
        for sent in SIGNALS:
            with StopSignal() as stop:
                stop.listen(said.append)
                signal.raise_signal(sent)
                assert stop.signal == sent
        assert len(said) == len(SIGNALS)
        assert [signal.getsignal(number) for number in SIGNALS] == before
    finally:
        signal.signal(signal.SIGHUP, hangup)


@pytest.mark.parametrize("logging", [True, False])
@pytest.mark.parametrize("elsewhere", [0, signal.SIGTERM])
def test_processes_agree_when_they_log(logging, elsewhere, monkeypatch):
    """Protects a job from one process that stops alone: all stop at a step that is logged."""
    asked = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(
        "netzoo.mesh.largest", lambda number: asked.append(number) or max(number, elsewhere)
    )
    stop = StopSignal()
    assert stop.agreed(logging) == (logging and elsewhere > 0)
    stop.signal = signal.SIGINT
    assert stop.agreed(logging) == logging
    assert asked == ([0, signal.SIGINT] if logging else [])


def test_a_signal_while_processes_agree_counts_the_next_time(monkeypatch):
    """Protects a preempted job: a signal that comes during the exchange is not forgotten."""
    stop = StopSignal()

    def exchange(number):
        stop.signal = stop.signal or signal.SIGTERM
        return number

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr("netzoo.mesh.largest", exchange)
    assert not stop.agreed(logging=True)
    assert stop.agreed(logging=True) and stop.signal == signal.SIGTERM


def test_nohup_lets_the_training_go_on(monkeypatch):
    """Protects `nohup netzoo train` when its terminal closes."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            stop.listen(print)
            signal.raise_signal(signal.SIGHUP)
            assert stop.signal is None
    finally:
        signal.signal(signal.SIGHUP, before)


CLOSED = """
import os, signal, sys
from netzoo.training.signals import StopSignal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` leaves SIGHUP ignored
came, written = os.pipe()
os.set_blocking(written, False)
signal.set_wakeup_fd(written)  # A signal before the wait ends the wait, too.
with StopSignal() as stop:
    stop.listen(lambda text: print(text, flush=True))
    print("listening", flush=True)
    os.read(came, 1)
    print("still here", flush=True)
    open(sys.argv[1], "w").write(str(stop.signal))
"""


def test_a_closed_terminal_still_saves(tmp_path):
    """Protects a run whose terminal closes: SIGHUP stops it, and printing does not fail."""
    main, terminal = os.openpty()
    command = [sys.executable, "-c", CLOSED, str(tmp_path / "saved")]
    options = {"cwd": ROOT, "start_new_session": True, "stdout": terminal, "stderr": terminal}
    with subprocess.Popen(command, **options) as process:
        os.close(terminal)
        while b"listening" not in os.read(main, 1000):
            pass
        os.close(main)
        process.send_signal(signal.SIGHUP)  # the kernel sends it to the session of a shell
    assert process.returncode == 0
    assert (tmp_path / "saved").read_text() == str(int(signal.SIGHUP))


def test_a_training_in_another_thread_leaves_signals_alone():
    """Protects training in a background thread, which cannot set signal handlers."""
    before = signal.getsignal(signal.SIGTERM)

    def listen():
        with StopSignal() as stop:
            stop.listen(print)
            return stop.agreed(logging=True), signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(listen).result() == (False, before)
