"""The contract of lessons, and the command that makes them."""

import json
import re
import shutil

import numpy as np
import pytest

from netzoo.cli.main import main
from netzoo.teaching import Setting, by_seed, list_lessons, load_lesson, verdict
from netzoo.teaching.record import HEADING, make, read_numbers, read_record, section
from tests.teaching.conftest import LESSONS, RESULTS, ROOT

FILES = sorted(LESSONS.glob("[a-z]*.py"))
OWN = '''"""Even numbers are even.

The rest.
"""
import numpy as np
from netzoo.teaching import by_seed, Claim, panels, verdict

def measure(setting):
    return {"numbers": np.arange(0, setting.choose(100, 10), 2)}

def claims(numbers):
    odd = (numbers["numbers"] % 2).sum()
    return [Claim("They are.", f"{len(numbers['numbers'])} numbers", verdict(1 - odd))]

def draw(numbers):
    figure, [axes] = panels("All are even", ["numbers"])
    axes.plot(numbers["numbers"])
    return {"numbers": figure}
'''


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "even.py"
    path.write_text(OWN)
    return path


@pytest.fixture(scope="module")
def even(tmp_path_factory):
    """The folder that the lesson of one's own writes."""
    folder = tmp_path_factory.mktemp("even")
    (folder / "even.py").write_text(OWN)
    make(load_lesson(str(folder / "even.py")), Setting(True, ""), folder / "out", ["netzoo"])
    return folder / "out"


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def lesson(request):
    return load_lesson(str(request.param))


def test_lessons_are_short_and_cite_a_paper(lesson):
    """Protects readers: at most 150 lines, one sentence as the title, and a cited paper."""
    text = (LESSONS / f"{lesson.name}.py").read_text()
    assert text.count("\n") <= 150
    assert lesson.title.endswith(".") and len(lesson.title) <= 100
    assert "arXiv:" in lesson.text or "NeurIPS" in lesson.text


@pytest.mark.parametrize("folder", sorted(RESULTS.glob("*")), ids=lambda p: p.name)
def test_pages_show_the_record(folder):
    """Protects readers of docs/lessons: claims and figures are those that the lesson gave."""
    record, page = read_record(folder), ROOT / "docs" / "lessons" / f"{folder.name}.md"
    text = page.read_text()
    assert not record["quick"]
    assert text.endswith(f"{HEADING}\n{section(record)}\n")
    lesson = load_lesson(str(LESSONS / f"{folder.name}.py"))
    claims = lesson.claims(read_numbers(folder))
    assert [claim._asdict() for claim in claims] == record["claims"]
    index = (ROOT / "docs" / "lessons" / "README.md").read_text()
    first = re.search(r"results/lessons/\w+/\w+\.png", text)[0]
    assert f"]({folder.name}.md)\n\n{lesson.title}\n" in index and first in index
    for figure in folder.glob("*.png"):
        assert f"results/lessons/{folder.name}/{figure.name})" in text, figure
        assert figure.with_suffix(".svg").exists()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1.6e6


def test_the_list_has_every_lesson(capsys):
    assert main(["lesson", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown and load_lesson(name).title in shown for name in list_lessons())


def test_a_lesson_of_ones_own(own, tmp_path, capsys):
    """Numbers, claims and figures are written; --redraw keeps the numbers."""
    out, page = tmp_path / "out", tmp_path / "page.md"
    page.write_text(f"# Even\n\n{HEADING}\nold\n")
    assert main(["lesson", str(own), "--quick", "--out", str(out), "--page", str(page)]) == 0
    record = json.loads((out / "record.json").read_text())
    claim = {"claim": "They are.", "measured": "5 numbers", "verdict": "shown"}
    assert record["claims"] == [claim] and record["quick"]
    assert record["command"] == f"netzoo lesson {own} --quick --out {out} --page {page}"
    assert {p.name for p in out.iterdir()} == {
        *("numbers.npz", "record.json", "numbers.png", "numbers.svg")
    }
    assert "| They are. | 5 numbers | **shown** |" in page.read_text()
    assert "old" not in page.read_text()
    own.write_text(OWN.replace("They are.", "So it is.").replace("10)", "20)"))
    assert main(["lesson", str(own), "--redraw", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "So it is." in said.out and said.err.count("This is the quick form") == 2
    [claim] = read_record(out)["claims"]
    assert (claim["claim"], claim["measured"]) == ("So it is.", "5 numbers")


def test_the_full_form_is_another(own):
    lesson = load_lesson(str(own))
    sizes = [len(lesson.measure(Setting(quick, ""))["numbers"]) for quick in (True, False)]
    assert sizes == [5, 50]


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (1.0, "shown"),
        ([1, 2, 3], "shown"),
        ([1, 2, -1], "shown weakly"),
        ([1, -2], "not shown at this scale"),
        (0.0, "not shown at this scale"),
    ],
)
def test_verdicts_count_the_seeds(differences, expected):
    assert verdict(np.array(differences)) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mobilnet_v2"], "unknown lesson 'mobilnet_v2'; did you mean mobilenet_v2"),
        (["even.py", "--redraw"], "run the lesson without --redraw first"),
        (["even.py", "--config.seed=1"], "a lesson has no configuration"),
        (["images.py", "--source", "folder"], "Unknown source 'folder'"),
        (["even.py", "--page", "no.md"], "No such file or directory: 'no.md'"),
        (["even.py", "--page", "part.py"], "part.py lacks the line '## What came out'"),
        (["even.py", "--redraw", "--out", "damaged"], "damaged/numbers.npz cannot be read: "),
        (["even.py", "--redraw", "--out", "older"], "of the lesson: it lacks 'numbers'; run"),
        (["part.py"], "part.py is not a lesson: expected the functions measure, claims, draw, "),
    ],
)
def test_errors_say_what_to_do(arguments, message, own, even, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images.py").write_text(
        OWN.replace("return {", "setting.pictures(32)\n    return {")
    )
    (tmp_path / "part.py").write_text("def measure(setting): ...")
    for name in ("damaged", "older"):
        shutil.copytree(even, tmp_path / name)
    (tmp_path / "damaged" / "numbers.npz").write_bytes(b"PK\x03\x04")
    np.savez(tmp_path / "older" / "numbers.npz", other=np.zeros(3))
    assert main(["lesson", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_values_of_seeds_are_readable():
    assert by_seed(np.array([120.0, 0.03, np.inf])) == "120, 0.03, never"
