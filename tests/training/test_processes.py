"""Two and four processes on one machine train, stop, resume and evaluate like one (CPU, gloo)."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import chex
import numpy as np
import orbax.checkpoint as ocp
import pytest

from netzoo.workdir.checkpoint import restore_variables
from netzoo.workdir.lock import lock_run
from netzoo.workdir.metrics_log import read_metrics
from tests.training.runs import ROOT, STEPS, lines_of

# One step, and the evaluation for two lengths, because it leaves out no pair; partial batches
# compile nothing more.
COMPILED = "compiled 1 2\n"


def begin(*arguments, devices: int, processes: int = 1, theirs=()) -> list[subprocess.Popen]:
    """Start `python ARGUMENTS` in several processes with several devices each.

    `theirs` are the arguments of all processes but the first, if they differ.
    """
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    started = []
    for index in range(processes):
        command = [sys.executable, *map(str, theirs if theirs and index else arguments)]
        flags = ["--coordinator", coordinator, "--processes", str(processes), "--process"]
        started.append(
            subprocess.Popen(
                [*command, *([*flags, str(index)] if processes > 1 else [])],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def finish(started, status: int = 0) -> list[str]:
    """Wait for the processes and return what each printed."""
    outputs = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [status] * len(started), outputs
    return [printed for printed, _ in outputs]


def train(workdir, *flags, stopped_by="", **options) -> list[subprocess.Popen]:
    config = "tests/training/noted_run.py" + (stopped_by and f":{stopped_by}")
    command = ("train.py", "--config", config, "--workdir", workdir, *flags)
    return begin(*command, **options)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A run of two processes with two devices each, with parameters sharded over two devices."""
    workdir = tmp_path_factory.mktemp("processes") / "two"
    printed = finish(train(workdir, "--config.sharding.fsdp=2", devices=2, processes=2))
    assert "4 cpu device(s), 2 process(es)" in printed[0]
    assert "step" not in printed[1], "only process 0 prints"
    assert COMPILED in printed[0]
    return workdir


def without(workdir, step: int, copy):
    """Copy a run as it was before its checkpoint of `step`."""
    shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns("rows*"))
    shutil.rmtree(copy / "checkpoints" / str(step))
    return copy


def examples_of(workdir) -> list[list[list[int]]]:
    """The sentences of each step, as the processes noted them, in the order of the batch."""
    notes = [path.read_text().splitlines() for path in sorted(workdir.glob("rows*.txt"))]
    steps = zip(*notes, strict=True)
    return [[row for rows in step for row in json.loads(rows)] for step in steps]


def assert_agree(workdir, other):
    """Compare losses, evaluations, the last and the best weights of two runs.

    The bound is 1e-5, relative or of a number near one: gloo sums in another order than the threads
    of one process, float32 rounds at 6e-8, and the differences accumulate over twenty steps of
    Adam.
    """
    for found, expected in zip(lines_of(workdir), lines_of(other), strict=True):
        assert found.keys() == expected.keys()
        for name in found.keys() - {"kind", "weights"}:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)
    for which in ("last", "best"):
        *found, weights = restore_variables(workdir, which)
        *expected, other_weights = restore_variables(other, which)
        assert found == expected
        chex.assert_trees_all_close(weights, other_weights, rtol=1e-5, atol=1e-5)


@pytest.mark.slow  # test_sharding.py has the numbers
def test_two_processes_agree_with_one(two, tmp_path):
    """Protects multi-host training: same losses, evaluations and weights as one process with four.

    The files on disk form one run: one log, one configuration, one checkpoint of both processes.
    """
    [printed] = finish(train(tmp_path, "--config.sharding.fsdp=2", devices=4))
    assert_agree(two, tmp_path)
    assert examples_of(two) == examples_of(tmp_path)
    assert COMPILED in printed
    assert len(read_metrics(two / "metrics.jsonl")) == STEPS + 4, "an evaluation an epoch"
    assert len(list((two / "tensorboard").iterdir())) == 1
    assert (two / "curves.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_other_devices_continue_with_the_same_examples(two, devices, tmp_path):
    """Protects moving a run: saved by two processes that share, continued by one or four devices.

    The examples of the following steps, and their order, are those of the run that was not moved.
    """
    copy = without(two, STEPS, tmp_path / "run")
    flag = f"--config.sharding.fsdp={min(devices, 2)}"
    [printed] = finish(train(copy, flag, devices=devices))
    assert "continuing at step 18" in printed
    assert_agree(copy, two)
    assert examples_of(copy) == examples_of(two)[18:]
    [position] = (copy / "checkpoints" / str(STEPS) / "data").glob("*.json")
    assert json.loads(position.read_text()) == {"next_index": STEPS}


@pytest.mark.slow
def test_evaluation_by_one_and_by_two_processes(two, tmp_path):
    """Protects eval.py: counts are exact, scores are one process's, and only one process writes."""
    reports = []
    for processes in (1, 2):
        copy = tmp_path / str(processes)
        shutil.copytree(two, copy)
        command = ("eval.py", "--workdir", copy, "--split", "validation")
        evaluate = begin(*command, devices=1, processes=processes)
        printed = finish(evaluate)
        assert "BLEU" in printed[0]
        assert not any(printed[1:])
        reports.append(json.loads((copy / "eval_validation" / "eval.json").read_text()))
        assert (copy / "eval_validation" / "translations.tsv").exists()
    one, both = reports
    counted = ("count", "tokens", "step", "weights", "token_accuracy", "bleu", "chrf")
    assert {name: one[name] for name in counted} == {name: both[name] for name in counted}
    assert (one["count"], one["step"]) == (11, STEPS)
    trained = read_metrics(two / "metrics.jsonl")[-1]
    assert one["token_accuracy"] == trained["validation_token_accuracy"]
    for report in reports:
        np.testing.assert_allclose(report["loss"], trained["validation_loss"], rtol=1e-5)


@pytest.mark.slow
def test_prediction_from_a_run_of_two_processes(two):
    """Protects predict.py: one device reads a checkpoint that two processes wrote in parts."""
    command = ("predict.py", "--workdir", two, "--json", "12", "four")
    [printed] = finish(begin(*command, devices=1))
    assert [entry["source"] for entry in json.loads(printed)] == ["12", "four"]


@pytest.mark.slow
def test_four_processes_stop_together_and_one_goes_on(two, tmp_path):
    """Protects preempted jobs: a signal to one of four stops all after the same saved step.

    Eight devices share the parameters. Their steps equal those of two processes, and one device
    continues the run to the same result.
    """
    workdir, flag = tmp_path / "run", "--config.sharding.fsdp=-1"
    started = train(workdir, flag, stopped_by="SIGTERM", devices=2, processes=4)
    printed = finish(started, status=128 + signal.SIGTERM)
    assert "8 cpu device(s), 4 process(es)" in printed[0]
    assert "stopped by SIGTERM after saving" in printed[0]
    assert read_metrics(workdir / "metrics.jsonl")[-1]["step"] == 7
    assert max(ocp.utils.checkpoint_steps(workdir / "checkpoints")) == 7
    assert examples_of(workdir) == examples_of(two)[:7]
    finish(train(workdir, devices=1))
    assert_agree(workdir, two)


@pytest.mark.slow
def test_killed_process_ends_the_other_with_a_message(tmp_path):
    """Protects a job from waiting for a dead process; JAX's own limit is 100 s.

    The limit here is 4 s. XLA ends the remaining process with a message that names the other one.
    """
    first, second = train(tmp_path, stopped_by="SIGKILL", devices=2, processes=2)
    _, errors = first.communicate(timeout=300)
    second.communicate()
    assert (first.returncode, second.returncode) == (-signal.SIGABRT, -signal.SIGKILL)
    assert "stopped sending heartbeats" in errors
    assert "The same command on all machines continues" in errors


@pytest.mark.slow
def test_refusal_ends_both_processes(two, tmp_path):
    """Protects a job from hanging: process 0 finds the folder taken, and process 1 learns of it."""
    copy = without(two, STEPS, tmp_path / "run")
    with lock_run(copy):
        started = train(copy, "--config.sharding.fsdp=2", devices=2, processes=2)
        for process in started:
            _, errors = process.communicate()
            assert process.returncode == 1
            assert f"locked: process {os.getpid()} on" in errors


def one_differs(command, ours, theirs) -> str:
    """Run two processes with different flags; return the message of process 0.

    Process 1 must end with the same message, in which its run folder may have another name.
    """
    started = begin(*command, *ours, devices=1, processes=2, theirs=[*command, *theirs])
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [1, 1], errors
    own, other = (error[error.index("error: ") :] for error in errors)
    assert own.replace("/run ", "/run2 ") == other.replace("/run ", "/run2 ")
    return own


@pytest.mark.slow
def test_processes_that_differ_are_refused(pictures, tmp_path):
    """Protects results: a process with other settings, data or run folder trains nothing."""
    command = ["train.py", "--config", "tests/training/noted_run.py", "--workdir"]
    run, rate = str(tmp_path / "run"), "--config.optimizer.learning_rate"
    error = one_differs([*command, run], [f"{rate}=0.1"], [f"{rate}=0.2", "--config.seed=3"])
    assert "optimizer.learning_rate: 0.1 in process 0, 0.2 in process 1\n  seed: 0" in error
    assert not (tmp_path / "run").exists()
    error = one_differs(command, [run], [f"{run}2"])
    assert f"{run} is not the same folder in all processes" in error
    other = shutil.copytree(pictures, tmp_path / "other")
    (other / "train" / "daisy" / "00.png").unlink()
    command = ["train.py", "--config", "configs/quickstart.py", "--workdir", run]
    folders = [[f"--config.data.source=folder:{folder}"] for folder in (pictures, other)]
    error = one_differs(command, *folders)
    assert "data.train.examples: 40 in process 0, 39 in process 1" in error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--coordinator", "localhost:1"), "--processes and --process missing"),
        (("--coordinator=a:1", "--processes=2", "--process=2"), "--process from 0 to one less"),
        (("--coordinator=a", "--processes=2", "--process=0"), "expected HOST:PORT"),
        (("--coordinator=a:65536", "--processes=2", "--process=0"), "PORT from 1 to 65535"),
        (("--distributed",), "found no others"),
    ],
)
def test_flags_that_do_not_fit(flags, message, tmp_path):
    """Protects users from a job that waits for processes that never come."""
    [process] = train(tmp_path / "run", *flags, devices=1)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert re.search(f"^error: .*{message}", errors, re.MULTILINE), errors
