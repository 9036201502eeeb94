"""Results on standard output: text from outside is shown, never interpreted, and never lost."""

import io
import json
import sys
import unicodedata

import pytest

from netzoo.console import json_text, print_table, say
from netzoo.errors import note, printable

# Each changes what a terminal does or shows: title, C1 control sequence, direction, line end.
HOSTILE = [
    "\x1b]0;x\x07",
    "\x9b31m",
    "\u202egpj.exe",
    "a\u2028b",
    "\x7f",
    "\udce9",
    "a\rb",
    "\u2066",
]
PERSIAN = "\u0645\u06cc\u200c\u062e"  # with a joiner that separates two letters
HARMLESS = [
    "tulips [spring]",
    "[/b]",
    ":smile:",
    "für",
    "玫瑰 花",
    PERSIAN,
    "👩\u200d🌾",
    "a\u3000b",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_are_escaped(text, capsys):
    """Protects terminals and logs, wherever a text is printed."""
    say(text)
    note(text)
    print_table((text, "b"), [(text, text)], title=text)
    for shown in capsys.readouterr():
        assert printable(shown, keep="\n") == shown and "\\" in shown


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_is_shown_as_it_is(text, capsys):
    """Protects class names in brackets, which rich would take for styles, and all scripts."""
    say(text)
    print_table((text,), [(text,)], title=text)
    assert capsys.readouterr().out.count(text) == 4


def test_lines_stay_lines(capsys):
    """Protects messages of several lines, but not names that contain a line end."""
    say("a\nb")
    print_table(("name",), [("a\nb",)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["a", "b"] and len(lines) == 7 and "a\\nb" in lines[5]


def test_a_table_in_a_pipe_is_not_cut(capsys):
    """Protects `netzoo models list > file` and long class names."""
    names = ["x" * 300, "y" * 300]
    print_table(("first", "second"), [names], right=("second",))
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)


def test_a_narrow_terminal_shows_all_of_a_name(monkeypatch):
    """Protects names that differ at their end."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    print_table(("class",), [("x" * 30,)])
    lines = [line for line in terminal.getvalue().splitlines() if "x" in line]
    assert len(lines) == 2 and sum(line.count("x") for line in lines) == 30


def test_a_closed_standard_error_sends_no_notice_to_the_results(capsys, monkeypatch):
    """Protects `--json 2>&-`."""
    monkeypatch.setattr(sys, "stderr", None)
    note("a notice")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("pretty", [False, True])
def test_json_is_safe_to_print_and_loses_nothing(pretty):
    """Protects programs that read the JSON, and terminals that show it."""
    texts = [*HOSTILE, *HARMLESS, "\U000e0041", '\n\t"\\']
    value = {"a": texts, "b": {texts[0]: 1.5, "c": None}, "d": [], "e": {}, "f": [[1, 2], []]}
    text = json_text(value, pretty=pretty)
    assert json.loads(text) == value
    assert printable(text, keep="\n") == text
    assert "für" in text and "玫瑰" in text
    assert pretty or "\n" not in text


def test_a_report_of_a_thousand_classes_has_few_lines():
    """Protects `eval.json` from a line for each of a million numbers."""
    report = {"accuracy": 0.5, "confusion": [[0] * 1000] * 1000, "names": ["a"] * 1000}
    report["per_class"] = [{"name": "a", "recall": None}] * 1000
    assert len(json_text(report, pretty=True).splitlines()) == 2 + 2 + 2 * 1002


def test_what_is_escaped():
    """Protects the rule: control, direction and separators of lines, but no letter or space."""
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        kind = unicodedata.category(character)
        if kind in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(character) in (
            *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
        ):
            assert printable(character) != character
        elif kind[0] in "LMNPS" or kind == "Zs":
            assert printable(character) == character
