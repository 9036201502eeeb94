"""Translating many sentences: output formats, results that are kept, and messages."""

import gzip
import json
import os
import sys

import jax
import numpy as np
import pytest

from netzoo.config import save_config
from netzoo.errors import UserError
from netzoo.tasks import create_task
from netzoo.tasks.translation import predict as module
from netzoo.tasks.translation.batches import MOST_TOKENS
from netzoo.tasks.translation.predict import Options, predict
from netzoo.tasks.translation.translator import Hypothesis, Translator
from netzoo.workdir import outputs
from tests.conftest import tiny_translation_config


@pytest.fixture(scope="module")
def vocabulary_folder(tmp_path_factory):
    """The files of a run folder that translation reads."""
    folder = tmp_path_factory.mktemp("run")
    task = create_task(tiny_translation_config())
    task.save(folder)
    save_config(task.config, folder)
    return folder


@pytest.fixture
def run(vocabulary_folder, monkeypatch):
    """Translate two at a time, into brackets, so that nothing is compiled; fail at `fail`."""
    shapes = jax.eval_shape(create_task(tiny_translation_config()).init, jax.random.key(0))
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    monkeypatch.setattr(module, "restore_variables", lambda *args: (1, "params", variables))
    monkeypatch.setattr(module, "SENTENCES_AT_A_TIME", 2)

    def fake(self, sentences, description):
        if "fail" in sentences:
            raise UserError("failed")
        if "^C" in sentences:
            raise KeyboardInterrupt
        best = [
            Hypothesis(f"[{text}]", -0.5, tuple(tokens))
            for text, tokens in zip(sentences, self.encode(sentences), strict=True)
        ]
        worse = Hypothesis("worse", -1.0, (5,))
        return [[first, worse] if first.tokens else [first] for first in best], 1.0

    monkeypatch.setattr(Translator, "translate", fake)
    return lambda *sentences, config=None, **options: predict(
        config or tiny_translation_config(), vocabulary_folder, sentences, Options(**options)
    )


def test_a_line_for_each_sentence(run, tmp_path, capfd):
    """Protects line n of the output: arguments first, then all lines of the file."""
    (tmp_path / "in.txt").write_text("3\n\n5\n")
    assert run("1", "2", input=str(tmp_path / "in.txt")) == 0
    done = capfd.readouterr()
    assert done.out == "[1]\n[2]\n[3]\n[]\n[5]\n"
    assert "5 sentences in 3.0 s, 1.7 sentences/s" in done.err


def test_a_network_with_other_options_than_the_weights(run):
    """Protects from a traceback when a key of the network does not fit the weights of the run."""
    config = tiny_translation_config()
    config.model.variant = (2, 16, 32, 2, 0.1)
    with pytest.raises(UserError, match=r"do not belong to this Transformer:\n.*expected \("):
        run("1", config=config)


def test_several_translations_say_of_which_sentence(run, capfd):
    """Protects n-best lists, in which a sentence may have fewer lines than requested."""
    assert run("1", "", "3", top_k=2) == 0
    assert capfd.readouterr().out == (
        "1\t-0.5000\t[1]\n1\t-1.0000\tworse\n2\t-0.5000\t[]\n3\t-0.5000\t[3]\n3\t-1.0000\tworse\n"
    )


def test_a_terminal_gets_no_control_characters_and_a_file_gets_the_text(
    run, tmp_path, capfd, monkeypatch
):
    """Protects the terminal from a stranger's vocabulary, and the text from being changed."""
    text, output = "\x1b]0;x\x07\u200d1", tmp_path / "out.txt"
    assert run(text, "1\n2", output=str(output)) == 0
    assert output.read_text() == f"[{text}]\n[1 2]\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(text) == 0
    assert capfd.readouterr().out == "[\\x1b]0;x\\x07\u200d1]\n"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_json_is_one_list(run, count, capfd):
    """Protects the JSON list, which is written in several parts."""
    sentences = [str(number) for number in range(count)]
    assert run(*sentences, json=True) == 0
    answers = json.loads(capfd.readouterr().out)
    assert [answer["source"] for answer in answers] == sentences
    assert answers[-1]["translations"] == [{"text": f"[{count - 1}]", "score": -0.5}]


def test_what_was_translated_stays_after_a_failure(run, tmp_path):
    """Protects hours of work from a later failure."""
    output = tmp_path / "out.txt"
    with pytest.raises(UserError, match="failed"):
        run("1", "2", "fail", output=str(output))
    assert output.read_text() == "[1]\n[2]\n"
    with pytest.raises(UserError, match="failed"):
        run("1", "2", "fail", output=str(output), json=True)
    assert [entry["source"] for entry in json.loads(output.read_text())] == ["1", "2"]


@pytest.mark.parametrize("as_json", [True, False])
def test_an_interruption_keeps_the_parts_before(run, as_json, capfd):
    """Protects what was translated until Ctrl-C; the status says that it is not all."""
    assert run("1", "2", "3", "^C", json=as_json) == 130
    done = capfd.readouterr()
    assert len(json.loads(done.out) if as_json else done.out.splitlines()) == 2
    assert done.err.endswith("interrupted: 2 of 4 sentences were translated\n")


def test_gzip_goes_in_and_out(run, tmp_path):
    """Protects compressed corpora: input is recognised by content, output by its name."""
    (tmp_path / "in").write_bytes(gzip.compress(b"1\n2\n3\n"))
    output = tmp_path / "out.gz"
    assert run(input=str(tmp_path / "in"), output=str(output)) == 0
    assert gzip.decompress(output.read_bytes()) == b"[1]\n[2]\n[3]\n"


@pytest.mark.parametrize(
    ("stream", "options", "message"),
    [
        ("stdin", {"input": "-"}, "standard input is closed; pass --input"),
        ("stdout", {}, "standard output is closed; pass --output"),
    ],
)
def test_closed_streams_are_named(run, stream, options, message, monkeypatch):
    """Protects batch jobs, whose shells close unused streams."""
    monkeypatch.setattr(sys, stream, None)
    with pytest.raises(UserError, match=message):
        run("1", **options)


def test_one_file_for_two_things_is_refused(run, tmp_path):
    """Protects the translations from a figure that would overwrite them."""
    with pytest.raises(UserError, match="same file"):
        run("1", output=str(tmp_path / "x"), figure=str(tmp_path / "." / "x"))
    with pytest.raises(UserError, match="it is a folder"):
        run("1", output="")
    (tmp_path / "in").write_text("1\n2\n")
    with pytest.raises(UserError, match="is an input and would be replaced"):
        run(input=str(tmp_path / "in"), output=str(tmp_path / "in"))
    assert (tmp_path / "in").read_text() == "1\n2\n"


def test_doubtful_sentences_are_counted(run, capfd):
    """Protects users from unreliable translations: one warning counts the unfamiliar sentences.

    `ß` does not occur in number words, and the longest length of the configuration is 16 tokens.
    """
    assert run("7", "ß", "one", "ßß", "1 " * 40) == 0
    lines = capfd.readouterr().err.splitlines()
    assert lines[:-1] == [
        "translations may be poor for sentences with characters that the training text "
        "does not have: sentence 2 and 1 more",
        "translations may be poor for sentences with more than 16 tokens, the maximum in "
        "training: sentence 5",
    ]


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        (os.fsdecode(b"caf\xe9"), r"sentence 2 is not UTF-8: 'caf\\udce9'"),
        ("1 " * MOST_TOKENS, r"sentence 2 has [\d,]+ tokens; expected at most 2,047"),
    ],
)
def test_impossible_sentences_stop_before_the_first(run, tmp_path, sentence, message):
    """Protects against a failure, or a machine without memory, in the middle."""
    output = tmp_path / "out.txt"
    with pytest.raises(UserError, match=message):
        run("1", sentence, output=str(output))
    assert not output.exists()


@pytest.mark.parametrize("sentence", ["", " ", "\N{LOWER ONE EIGHTH BLOCK}", "1 " * 120])
def test_a_picture_of_nothing_is_said(run, sentence, tmp_path, capfd):
    """Protects translations whose figure cannot be drawn: they are written, and the status is 1."""
    picture = tmp_path / "picture.png"
    assert run(sentence, figure=str(picture)) == 1
    done = capfd.readouterr()
    assert done.out == f"[{sentence}]\n"
    assert f"{picture} was not written" in done.err
    assert not picture.exists()


def test_no_sentence_is_an_error(run):
    """Protects against an empty answer to a forgotten argument."""
    with pytest.raises(UserError, match="no sentence; pass sentences"):
        run()


def test_places_that_may_not_be_written_are_refused_at_once(tmp_path, monkeypatch):
    """Protects an hour of translating; the refusal is simulated, because root may write."""
    asked = []
    monkeypatch.setattr(outputs.os, "access", lambda path, mode: asked.append(path))
    (tmp_path / "old.txt").touch()
    for name in ("old.txt", "new.txt"):
        with pytest.raises(UserError, match=f"{name}: no permission"):
            outputs.check_writable(str(tmp_path / name))
    assert asked == [tmp_path, tmp_path]
