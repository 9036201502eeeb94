"""The table of the Transformer's speeds, with contestants that compute nothing."""

import csv
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import sentences, translation, translation_worker
from netzoo.tasks.translation import vocabulary

FAKE = Path(__file__).parent / "fake_contestant.py"
# Seconds of three repetitions.
SECONDS = {"netzoo": [1, 2, 4], "torch": [2, 8, 12], "torch compiled": [1, 1, 1]}
TINY = {"layers": 1, "width": 8, "mlp_dim": 8, "heads": 2, "dropout_rate": 0.0}
TINY |= {"rows": 2, "length": 4, "vocabulary": 9, "smoothing": 0.1}


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    """Replace all contestants by fakes; return their log."""
    log = tmp_path / "log"

    def command(contestant, python, settings):
        description = {"parameters": 7, "losses": [6.9, 6.8], "compile_seconds": 1.0}
        mine = {
            "description": {**description, "versions": {"device": "none"}},
            "peak_bytes": 2**20,
            "seconds": SECONDS[contestant.name],
            "contestant": contestant.name,
            "log": str(log),
        }
        return [sys.executable, str(FAKE), json.dumps(mine)]

    monkeypatch.setattr(translation, "command", command)
    monkeypatch.setattr(translation, "find_python", lambda *arguments: sys.executable)
    return log


def run(out: Path) -> list[dict[str, str]]:
    """Return the lines of the CSV file."""
    flags = ("--repeats", "3", "--steps", "5", "--rows", "2", "--length", "8", "--beams", "4")
    assert translation.main([*flags, "--out", str(out)]) == 0
    with (out / "translation.csv").open() as file:
        return list(csv.DictReader(file))


def test_rows_and_ratios(fakes, tmp_path, capsys):
    """Training counts tokens, decoding counts sentences; the peer's fastest setting is compared."""
    lines = run(tmp_path)
    names = [(line["mode"], line["beams"], line["contestant"]) for line in lines]
    train = [("train", "0", name) for name in SECONDS]
    assert names == [*train, ("decode", "4", "netzoo"), ("decode", "4", "torch")]
    tokens = sentences.count_tokens(sentences.draw_pairs(2, 8, 4_000)[1])
    assert float(lines[0]["per_second"]) == pytest.approx(tokens * 5 / 2)
    assert float(lines[3]["per_second"]) == pytest.approx(2 * 5 / 2)
    ratios = [float(line["netzoo_ratio"]) for line in lines]
    assert ratios == pytest.approx([1, 3, 1 / 2, 1, 3])
    out = capsys.readouterr().out
    assert out.count("0.50 x") == 1 and out.count("3.00 x") == 1


def test_a_table_continues_where_it_stopped(fakes, tmp_path):
    """A row that is already measured is not measured again."""
    lines = run(tmp_path)
    fakes.unlink()
    assert run(tmp_path) == lines
    assert not fakes.exists()


def test_sentences_are_what_training_has():
    """Contestants of other libraries cannot import the constants, so they must have equal ones."""
    for name in ("PAD", "START", "END", "UNKNOWN"):
        assert getattr(sentences, name) == getattr(vocabulary, name)
    source, target = map(np.asarray, sentences.draw_pairs(20, 8, 50))
    assert source.shape == (20, 8) and target.shape == (20, 9)
    assert (target[:, 0] == sentences.START).all() and source.max() < 50
    for row in [*source, *target[:, 1:]]:
        end = list(row).index(sentences.END)
        assert end >= 5 and (row[:end] > sentences.END).all() and not row[end + 1 :].any()


@pytest.mark.slow
@pytest.mark.parametrize("mode", [{"mode": "train", "beams": 0}, {"mode": "decode", "beams": 2}])
def test_netzoo_does_the_work_that_it_is_timed_for(mode):
    """A step trains, and a translation never ends before its length."""
    step, state, facts = translation_worker.make_program({**TINY, **mode})
    (after, _), (_, again) = (first := step(state)), step(first[0])
    assert facts["parameters"] == sum(x.size for x in jax.tree.leaves(after[0]))
    if mode["mode"] == "train":
        assert again < first[1]
    else:
        assert after[1].shape == (2, 2, 4) and (after[1] > sentences.START).all()
