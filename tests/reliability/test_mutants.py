"""Faults in code: each is one change that can matter, and a seed determines them."""

import ast

from reliability import mutants
from reliability.code_mutation import faults, mutant

SOURCE = '''
def f(x: int = 3) -> tuple[int, ...]:
    """Return 1."""
    if x < 2 and not x:
        raise ValueError(f"expected {x + 1}")
    log(x)
    return g(x, scale=2.0, flip=True)
'''
CHANGED = {
    "(x: int=4)", "if not (x < 2 and (not x))", "x < 2 or not x", "x <= 2", "x < 3",
    "x < 2 and x:", "    pass", "g(x, flip=True)", "g(x, scale=2.0)", "scale=4.0", "flip=False",
}  # fmt: skip


def test_every_fault_is_one_change():
    """Protects the count: faults change operators, numbers, calls and arguments, but no message."""
    number = sum(1 for _ in faults(ast.parse(SOURCE)))
    sources = {mutant(SOURCE, i)[0] for i in range(number)}
    assert len(sources) == number == len(CHANGED)
    for change in CHANGED:
        assert sum(change in source for source in sources) == 1, change


def test_the_seed_draws_from_every_part():
    """Protects a continued table, whose faults a seed must repeat, and its spread over parts."""
    drawn = mutants.draw(mutants.ROOT, 10, 0)
    assert drawn == mutants.draw(mutants.ROOT, 10, 0) != mutants.draw(mutants.ROOT, 10, 1)
    assert sorted(name.split("/")[1] for name, _ in drawn) == sorted([*mutants.TESTS] * 2)


def test_the_tests_of_a_file_come_first():
    """Protects the run time: the tests that are likeliest to notice a fault come first."""
    paths = mutants.tests_of(mutants.ROOT, "netzoo/training/step.py")
    assert paths[0] == "tests/training/test_step.py"
    assert "tests/training/test_cheap_runs.py" in paths  # of no module in particular
    assert "tests/training/test_schedule.py" not in paths
    assert "tests/test_every_key.py" in paths and len(set(paths)) == len(paths)
    paths = mutants.tests_of(mutants.ROOT, "netzoo/models/blocks.py")
    assert "tests/models/test_vgg.py" in paths  # blocks.py has no test of its own


def test_an_earlier_fault_is_found_in_the_code_of_today(tmp_path, monkeypatch):
    """The nearest line with the same fault is meant, and only a test that passes fails the run."""
    (tmp_path / "a.py").write_text("a = x < 2\nb = 0\nc = x < 2\n")
    line = {"file": "a.py", "before": "x < 2", "after": "x <= 2", "test": "", "later_test": "t"}
    lines = [
        {**line, "line": "3"},
        {**line, "line": "1", "test": "s", "later_test": ""},
        {**line, "line": "3", "before": "x > 9"},
        {**line, "line": "1", "file": "no.py"},
        {**line, "line": "1", "later_test": ""},  # no test noticed it
        {**line, "line": "1", "later_test": "lost"},
    ]
    seen, noticing = [], {"s", "t"}

    def run_tests(root, tests, slow):
        text = (root / "a.py").read_text()
        if "<=" in text:
            seen.append((text, tests, slow))
        found = tests == ["lost"] or ("<=" in text and tests[0] in noticing)
        return ("killed" if found else "survived"), ""

    monkeypatch.setattr(mutants, "run_tests", run_tests)
    for some, status in (lines[:-1], 0), (lines[-1:], 1), (lines, 1):
        with (tmp_path / "again.csv").open("w") as file:
            assert mutants.run_again(tmp_path, some, file) == status
        noticing.discard("s")
    assert seen[0] == ("a = x < 2\nb = 0\nc = x <= 2", ["t"], True)
    assert seen[1] == ("a = x <= 2\nb = 0\nc = x < 2", ["s"], True)
    written = (tmp_path / "again.csv").read_text().splitlines()
    assert [row.split(",")[4] for row in written[1:]] == [
        *("killed", "survived", "gone", "gone", "untested")
    ]
    assert (tmp_path / "a.py").read_text().endswith("c = x < 2\n")
