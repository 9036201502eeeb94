"""Tests of the profiles of steps."""

from pathlib import Path

import pytest

from benchmarks import profiles
from benchmarks.profile_worker import KINDS, kinds_of_jax, kinds_of_torch

ROOT = Path(__file__).parents[2]


def test_time_that_no_operation_of_xla_takes_is_that_of_convolutions():
    seconds = {"ynn_fusion.3": 0.2, "transpose_copy_fusion.1": 0.1, "copy.2": 0.05, "add": 0.15}
    # A convolution returns before it ends.
    found = kinds_of_jax({**seconds, "conv_general_dilated.7": 0.01}, step=1.0)
    assert found == pytest.approx(dict(zip(KINDS, (0.7, 0.15, 0.15), strict=True)))


def test_operations_of_xla_at_the_same_time_leave_nothing_for_convolutions():
    found = kinds_of_jax({"dot.1": 0.8, "add.2": 0.5}, step=1.0)
    assert found == pytest.approx(dict(zip(KINDS, (0.8, 0.0, 0.5), strict=True)))


def test_time_that_no_operation_of_torch_takes_is_other():
    seconds = {"aten::mkldnn_convolution": 0.3, "aten::addmm": 0.1, "aten::copy_": 0.2}
    found = kinds_of_torch({**seconds, "aten::add_": 0.05}, step=1.0)
    assert found == pytest.approx(dict(zip(KINDS, (0.4, 0.2, 0.4), strict=True)))


def test_a_step_of_netzoo_is_profiled(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(profiles, "find_python", lambda *args: None)
    arguments = ["--model", "resnet18", "--mode", "infer", "--image-size", "32", "--repeats", "2"]
    arguments += ["--batch-size", "2", "--out", str(tmp_path)]
    assert profiles.main(arguments) == 0
    head, _, row = capsys.readouterr().out.strip().splitlines()
    assert head.startswith("| step, batch | netzoo: convolutions and products |")
    step, products, transpositions, other, whole = row.strip("| ").split(" | ")
    assert step == "resnet18, inference, 2"
    assert 0 < float(products) <= float(whole)
    assert float(transpositions) < float(whole)
    assert 0 < float(other) < float(whole)
    before = (tmp_path / "profiles.csv").read_bytes()
    profiles.main(arguments)  # nothing is missing
    assert (tmp_path / "profiles.csv").read_bytes() == before


def test_page_shows_the_committed_results(capsys):
    lines = profiles.report.Lines(ROOT / "results/profiles", "profiles.csv", profiles.KEY).all()
    profiles.show(lines)
    assert capsys.readouterr().out.strip() in (ROOT / "docs/performance.md").read_text()
