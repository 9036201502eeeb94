"""The measurements for an accelerator run in their time, and keep what they have measured."""

import csv
import subprocess
import sys

import pytest

from benchmarks import accelerator
from benchmarks import accelerator_sections as sections

# A section that writes a line, starts a process that would outlive it, and never ends.
ENDLESS = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
child.wait()
"""


def read(folder, name):
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_unknown_section_and_missing_folder(capsys):
    """Protects the little time on an accelerator from a misspelt command."""
    for arguments, message in (
        (["--out", "x", "--sections", "atention"], "unknown section 'atention'; expected some of"),
        (["--sections", "device"], "--out is missing"),
    ):
        with pytest.raises(SystemExit):
            accelerator.parse(arguments)
        assert message in capsys.readouterr().err


def test_a_section_ends_with_all_its_processes():
    """A process that outlived its section would keep the memory of the device."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert int(process.stdout.readline()) > 0
    accelerator.end_group(process)
    assert process.returncode == -15
    assert process.stdout.read() == ""  # ends when no process has the pipe any more


@pytest.mark.slow
def test_every_section_on_a_cpu(tmp_path):
    """Every section is complete, and finds what a CPU can tell."""
    assert set(accelerator.SHARES) == set(sections.SECTIONS)
    assert accelerator.main(["--out", str(tmp_path), "--tiny", "--repeats", "2"]) == 0
    assert {line["ended"] for line in read(tmp_path, "summary")} == {"complete"}
    assert read(tmp_path, "device")[0]["platform"] == "cpu"
    found = read(tmp_path, "attention")
    # bfloat16 has 8 bits: 0.4 % for each rounding.
    assert all(float(line["query_gradient"]) < 0.02 for line in found if not line["refused"])
    assert {line["attention"] for line in found if line["refused"]} == {"cudnn"}
    assert [line["identical"] for line in read(tmp_path, "determinism")] == ["True"]
    (trained,) = read(tmp_path, "training")
    assert trained["status"] == "-9" and trained["continued_status"] == "0"
    assert 0 < int(trained["continued_at_step"]) <= int(trained["killed_at_step"])
    assert 0 <= float(trained["accuracy"]) <= 1
    assert {line["mode"] for line in read(tmp_path, "throughput")} == {"train", "infer"}


def test_a_section_without_time_is_cut(tmp_path):
    """The summary says so, and the command fails."""
    arguments = ["--out", str(tmp_path), "--tiny", "--sections", "device,attention"]
    assert accelerator.main([*arguments, "--seconds", "0"]) == 1
    assert [line["ended"] for line in read(tmp_path, "summary")] == ["cut after 0 s"] * 2
