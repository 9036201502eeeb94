"""The reliability tools distinguish failures from errors for users."""

import json

import pytest

from tests.training.runs import run

# A separate program, because a process with JAX must not fork.
PROGRAM = """
import json, os, signal, sys, time
from netzoo.errors import UserError
from reliability.child import in_child

def fail(error):
    raise error

calls = {
    "value": lambda: 3,
    "error for users": lambda: fail(UserError("mend it\\nso")),
    "bug": lambda: fail(ValueError("bug")),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "hang": lambda: time.sleep(60),
    "memory": lambda: len(bytearray(os.urandom(1)) * (300 << 20)),
    "address space": lambda: len(bytearray(3 << 30)),
}
limits = {"seconds": 2.0, "memory_mb": 250, "address_mb": 2000}
print(json.dumps({name: in_child(call, **limits)[:2] for name, call in calls.items()}))
"""


def test_outcomes_of_a_child():
    """Protects the reports: a crash, a hang and a traceback are failures."""
    done = run("-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["value"] == ["read", "3"]
    assert found["error for users"] == ["refused", "mend it"]
    assert found["bug"] == ["FAILED", "ValueError: bug"]
    assert found["crash"] == ["FAILED", "killed by SIGSEGV"]
    assert found["hang"] == ["FAILED", "took more than 2 s"]
    assert found["memory"][0] == "FAILED" and "more than 250 MiB" in found["memory"][1]
    assert found["address space"] == ["FAILED", "MemoryError: "]


@pytest.mark.slow
def test_fuzzing_counts_and_keeps(tmp_path):
    """Protects the counts: every input passes, is rejected or fails, and failures are kept."""
    arguments = ("--minutes", 0.03, "--target", "npz", "--target", "torch", "--out", tmp_path)
    done = run("-m", "reliability.fuzz", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    assert [row["target"] for row in rows] == ["npz", "torch"]
    for row in rows:
        assert row["tries"] == row["passed"] + row["refused"] > 10
        assert min(row["passed"], row["refused"]) > 0 == row["failures"]
    assert (tmp_path / "fuzz.csv").read_text().count("\n") == 3
    assert not (tmp_path / "fuzz_failures").exists()
