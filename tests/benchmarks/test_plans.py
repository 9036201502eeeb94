"""The table of plans for TPUs, without the compiler."""

import pytest

from benchmarks import plans
from netzoo.cli.plan.topology import parse_target
from tests.cli.test_plan_targets import refused, result


@pytest.fixture
def compiled(monkeypatch):
    """Replace the compiler by one that takes at most 256 rows of a chip."""
    seen = []

    def measure(config, target, classes, rows):
        seen.append((config.model.name, str(target), rows))
        size = rows // target.chips
        found = result(examples=None) if size <= 256 else refused(None)
        return {**found, "rows": rows, "units": rows}

    monkeypatch.setattr(plans, "measure", measure)
    monkeypatch.setattr(plans, "check_libtpu", lambda: None)
    return seen


def test_the_table_continues_where_it_stopped(compiled, tmp_path, capsys):
    """Protects hours of compiling: a second run compiles only what the file lacks."""
    command = ["--out", str(tmp_path), "--only", "imagenet_resnet50"]
    plans.main(command)
    assert compiled == [
        ("resnet50", "tpu:v5e:2x4", 2048),
        ("resnet50", "tpu:v4:2x2x4", 2048),
        ("resnet50", "tpu:v5e:16x16", 2048),
    ]
    first = capsys.readouterr().out
    assert first.count("| imagenet_resnet50 |") == 3 and first.count("| yes |") == 3
    plans.main(command)
    assert len(compiled) == 3
    assert capsys.readouterr().out == first, "numbers survive the file"


def test_a_search_writes_every_batch(compiled, tmp_path, capsys):
    plans.main(["--out", str(tmp_path), "--only", "flowers_224"])
    rows = [rows for _, _, rows in compiled]
    table = capsys.readouterr().out
    assert table.count("| flowers_224 |") == len(rows) >= 2
    assert "| 256 | yes |" in table and "| no |" in table


def test_every_case_is_a_run_that_its_chips_can_divide():
    """Protects the last cases of the table, which a run reaches after hours."""
    keys = [(case.run, case.target) for case in plans.CASES]
    assert len(set(keys)) == len(keys)
    for case in plans.CASES:
        config = plans.configuration(case)
        assert config.model.dtype == "bfloat16"
        chips = parse_target(case.target).chips
        assert case.batch or config.train.batch_size % chips == 0
