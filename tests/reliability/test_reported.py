"""The table of reported faults: its tests exist, and a failure is noticed."""

import collections
import csv
import subprocess
import sys
from types import SimpleNamespace

import pytest

from reliability import reported
from reliability.reported import Outcomes, line, missing, read_table

HERE = "tests/reliability/test_reported.py"
WIDEST = 100  # characters of a fault, which the printed table does not cut


def test_every_test_of_the_table_exists():
    """Protects the table from tests that were renamed or removed."""
    rows = read_table()
    assert missing([test for row in rows for test in row.tests]) == []
    assert all(row.tests and row.now and len(row.fault) <= WIDEST for row in rows)
    assert len({row.fault for row in rows}) == len(rows)
    page = (reported.ROOT / "docs" / "reliability.md").read_text("utf-8")
    for section, count in collections.Counter(row.section for row in rows).items():
        assert f"\n| {section.lower()} | {count} |" in page
    assert f"\n| all | {len(rows)} |" in page


@pytest.mark.slow  # the fast one knows functions only
def test_every_case_of_the_table_exists():
    """Protects the table from cases that were renamed or removed."""
    cases = [test for row in read_table() for test in row.tests if "[" in test]
    files = {test.partition("::")[0] for test in cases}
    command = [sys.executable, "-m", "pytest", "--collect-only", *sorted(files)]
    done = subprocess.run(command, cwd=reported.ROOT, capture_output=True, text=True)
    assert set(cases) <= set(done.stdout.splitlines())


def test_what_does_not_exist_is_missing():
    """Protects the check of functions, which reads files and imports nothing."""
    known = f"{HERE}::test_the_command[passed]"
    gone = [f"{HERE}::test_gone", "tests/gone.py::test_x", f"{HERE}::WIDEST", HERE]
    assert missing([known, *gone]) == gone


def outcomes_of(*parts):
    """Return the outcomes of parts of cases: the number of the test, the part and the outcome."""
    found = Outcomes()
    for number, when, outcome in parts:
        nodeid = f"{HERE}::test_{number}[case]"
        found.pytest_runtest_logreport(SimpleNamespace(nodeid=nodeid, when=when, outcome=outcome))
    return found


@pytest.mark.parametrize(
    ("parts", "answered", "counts"),
    [
        ([(1, "call", "passed"), (2, "call", "passed")], "yes", (2, 0, 0)),
        (
            [(1, "call", "passed"), (2, "call", "failed"), (2, "teardown", "passed")],
            "no",
            (1, 1, 0),
        ),
        (
            [(1, "call", "passed"), (1, "teardown", "failed"), (2, "call", "passed")],
            "no",
            (1, 1, 0),
        ),
        ([(1, "call", "passed"), (2, "setup", "failed")], "no", (1, 1, 0)),
        ([(1, "call", "passed"), (2, "setup", "skipped")], "no", (1, 0, 1)),
        ([(1, "call", "passed"), (2, "setup", "passed")], "no", (1, 0, 0)),
    ],
)
def test_a_row_is_answered_if_each_of_its_tests_passed(parts, answered, counts):
    """Protects from a row without proof: a failed, skipped or missing test does not answer it."""
    tests = (f"{HERE}::test_1", f"{HERE}::test_2")
    found = line(reported.Row("a", "b", "c", tests), outcomes_of(*parts))
    assert found["answered"] == answered
    assert tuple(found[name] for name in ("passed", "failed", "left out")) == counts


@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_the_command(outcome, tmp_path, monkeypatch):
    """Protects the exit status, the file, which keeps other sections, and brackets in the table."""
    ran = []

    def fake(arguments, plugins):
        for test in [argument for argument in arguments if "::" in argument]:
            ran.append(test)
            part = SimpleNamespace(nodeid=test, when="call", outcome=outcome)
            plugins[0].pytest_runtest_logreport(part)

    monkeypatch.setattr(reported.pytest, "main", fake)
    section = "Crashes and broken promises"
    with reported.CONSOLE.capture() as shown:
        status = reported.main(["--section", section, "--out", str(tmp_path)])
    assert status == (outcome == "failed")
    rows = [row for row in read_table() if row.section == section]
    assert all(row.fault in shown.get() for row in rows) and "[spring]" in shown.get()
    assert set(ran) == {test for row in rows for test in row.tests} and len(ran) == len(set(ran))
    reported.main(["--section", "Security", "--out", str(tmp_path)])
    with (tmp_path / "reported.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [row for row in read_table() if row.section in (section, "Security")]
    assert [each["fault"] for each in lines] == [row.fault for row in rows]
    assert {each["answered"] for each in lines} == {"yes" if outcome == "passed" else "no"}


def test_a_missing_test_is_an_error(monkeypatch):
    """Protects the run from being reported without the tests that are gone."""
    rows = [reported.Row("a", "b", "c", ("tests/gone.py::test_x[case]",))]
    monkeypatch.setattr(reported, "read_table", lambda: rows)
    with reported.CONSOLE.capture() as shown:
        assert reported.main([]) == 1
    assert "tests/gone.py::test_x[case]" in shown.get()
