"""The vocabulary: round trips, special tokens, files, and errors with advice."""

import re

import numpy as np
import pytest
import sentencepiece

from netzoo.errors import UserError
from netzoo.tasks.translation.vocabulary import END, PAD, START, UNKNOWN, Vocabulary

TEXTS = [
    "A man rides a horse.",
    "Ein Mann reitet ein Pferd.",
    "Zwei Hunde spielen im Schnee, 12 Männer sehen zu.",
    "Two dogs play in the snow; 31415 men are watching.",
    "The man in the snow, the dogs and the horse",
] * 3


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.learn(TEXTS, size=90)


def test_round_trip(vocabulary):
    """Text of known characters survives exactly, and its pieces include no special tokens."""
    for text in [*TEXTS, "Männer12, Hunde; 9.", "", "snowman", "ZweiMänner"]:
        text = text.replace("9", "4")
        ids = vocabulary.encode(text)
        assert vocabulary.decode(ids) == text
        assert all(UNKNOWN < i < len(vocabulary) for i in ids)


@pytest.mark.parametrize("text", [" two  dogs ", "two\tdogs\n", "two\u00a0dogs\r"])
def test_white_space_is_one_space(vocabulary, text):
    """Double and trailing spaces of the files become no tokens to predict."""
    assert vocabulary.encode(text) == vocabulary.encode("two dogs")
    assert vocabulary.decode(vocabulary.encode(text)) == "two dogs"


def test_characters_are_kept_as_they_are():
    """Text is not normalised: a ligature, a full-width letter and a capital do not change."""
    texts = ["\ufb01ne \uff21 \u00c9 e\u0301"] * 2
    vocabulary = Vocabulary.learn(texts, size=16)
    assert vocabulary.decode(vocabulary.encode(texts[0])) == texts[0]


def test_special_tokens(vocabulary):
    """Special tokens are omitted from decoded text, and users cannot write them."""
    ids = vocabulary.encode("the man")
    framed = [START, *ids[:1], PAD, END, *ids[1:], END, PAD, PAD]
    assert vocabulary.decode(framed) == vocabulary.decode(np.array(framed)) == "the man"
    assert (PAD, START, END, UNKNOWN) == (0, 1, 2, 3)
    assert not {PAD, START, END} & set(vocabulary.encode("<pad> <s> </s>"))


def test_unknown_characters_are_seen(vocabulary):
    """Characters that the text lacks become one visible UNKNOWN and are not dropped."""
    ids = vocabulary.encode("the ☃☃ man")
    assert ids.count(UNKNOWN) == 1
    assert vocabulary.decode(ids) == "the ⁇ man"


def test_digits_stay_apart(vocabulary):
    """Numbers are spelled digit by digit; otherwise, each frequent number would be one piece."""
    assert vocabulary.pieces(vocabulary.encode("31415")) == ["▁", "3", "1", "4", "1", "5"]


def test_encode_all_is_encode(vocabulary):
    """The fast function gives the same pieces as the slow one."""
    texts = [*TEXTS, "", "  two   dogs"]
    assert vocabulary.encode_all(texts) == [vocabulary.encode(text) for text in texts]


def test_learning_is_deterministic_and_quiet(vocabulary, tmp_path, capfd):
    """Two runs learn the same vocabulary, and SentencePiece prints nothing."""
    again = Vocabulary.learn(iter(TEXTS), size=90)
    for name, one in [("first", vocabulary), ("second", again)]:
        one.save(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert capfd.readouterr() == ("", "")


def test_saved_and_loaded(vocabulary, tmp_path):
    """A run's vocabulary is one file, which other tools can read too."""
    path = tmp_path / "vocabulary.model"
    vocabulary.save(path)
    loaded = Vocabulary.load(path)
    assert len(loaded) == len(vocabulary) == 90
    assert loaded.encode_all(TEXTS) == vocabulary.encode_all(TEXTS)
    peer = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert peer.encode(TEXTS[0]) == vocabulary.encode(TEXTS[0])


def test_size_that_the_text_cannot_fill():
    """The error names the largest size, and that size works."""
    with pytest.raises(UserError, match=r"5,000 pieces; .*value <=") as caught:
        Vocabulary.learn(TEXTS, size=5000)
    largest = int(str(caught.value).rpartition("<= ")[2].rstrip("."))
    assert len(Vocabulary.learn(TEXTS, size=largest)) == largest


def test_size_that_the_characters_exceed():
    """The error names the smallest size, and that size works."""
    with pytest.raises(UserError, match=r"10 pieces; .*required_chars\. 10 vs \d+") as caught:
        Vocabulary.learn(TEXTS, size=10)
    smallest = int(re.search(r"10 vs (\d+)", str(caught.value))[1])
    assert len(Vocabulary.learn(TEXTS, size=smallest)) == smallest


def test_nothing_to_learn_from():
    """The error names empty files as the cause."""
    with pytest.raises(UserError, match="every sentence is empty"):
        Vocabulary.learn(["", " "], size=20)


def test_damaged_files(vocabulary, tmp_path):
    """A truncated file is an error."""
    path = tmp_path / "damaged.model"
    vocabulary.save(path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 7), *range(len(whole) - 100, len(whole))]:
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"damaged\.model: this .*[^.]; replace the file$"):
            Vocabulary.load(path)
    with pytest.raises(UserError, match="No such file"):
        Vocabulary.load(tmp_path / "missing")


@pytest.mark.parametrize("text", ["▁", "⁇"])
def test_text_that_is_none(vocabulary, tmp_path, text):
    """Damage in a piece or the unknown symbol is an error now; it would end a translation later."""
    data = bytearray(vocabulary._model)
    at = data.rindex(text.encode())
    data[at : at + 3] = b"\xff\xff\xff"
    (tmp_path / "damaged.model").write_bytes(data)
    with pytest.raises(UserError, match=r"damaged\.model"):
        Vocabulary.load(tmp_path / "damaged.model")


def test_foreign_numbering(tmp_path):
    """A model with other special tokens is an error."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(tmp_path / "foreign"),
        vocab_size=90,
        model_type="bpe",
        minloglevel=2,
    )
    with pytest.raises(UserError, match=r"\(-1, 1, 2, 0\).*; replace the file$"):
        Vocabulary.load(tmp_path / "foreign.model")
