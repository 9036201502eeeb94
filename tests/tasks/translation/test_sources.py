"""Sources of sentence pairs: opening, contents and errors."""

import gzip
import re
from typing import ClassVar

import pytest
import tensorflow_datasets as tfds

from netzoo import limits
from netzoo.data.source import SourceError
from netzoo.tasks.translation.sources import read_pairs

ENGLISH = ["A dog.", "Two cats.", "Three birds.", "Four fish."]
GERMAN = ["Ein Hund.", "Zwei Katzen.", "Drei Vögel.", "Vier Fische."]


@pytest.fixture
def folder(tmp_path):
    """A plain split train, a compressed split val, and a split test without its German side."""
    (tmp_path / "train.en").write_bytes("\n".join([*ENGLISH, ""]).encode())
    (tmp_path / "train.de").write_bytes("\n".join(GERMAN).encode())  # no newline at the end
    (tmp_path / "val.en.gz").write_bytes(gzip.compress("\n".join(ENGLISH[:2]).encode()))
    (tmp_path / "val.de.gz").write_bytes(gzip.compress("\n".join(GERMAN[:2]).encode()))
    (tmp_path / "test.en").write_text("A dog.\n")
    (tmp_path / "README").write_text("Animals.")
    return tmp_path


def test_folder_holds_every_pair(folder):
    """Line n pairs with line n, and the first language in braces is the source."""
    source = read_pairs(f"parallel:{folder}.{{en,de}}", "train")
    assert source == list(zip(ENGLISH, GERMAN, strict=True))
    reverse = read_pairs(f"parallel:{folder}.{{de,en}}", "train")
    assert reverse == list(zip(GERMAN, ENGLISH, strict=True))


@pytest.mark.parametrize(
    ("split", "selected"),
    [
        ("train[:75%]", [0, 1, 2]),
        ("train[3:]", [3]),
        ("val", [0, 1]),
        ("validation", [0, 1]),
        ("train[2:]+val[:1]", [2, 3, 0]),
    ],
)
def test_splits_are_tfds_expressions(folder, split, selected):
    """A folder is sliced as a TFDS data set is."""
    source = read_pairs(f"parallel:{folder}.{{en,de}}", split)
    assert [pair[0] for pair in source] == [ENGLISH[i] for i in selected]


@pytest.mark.parametrize("stem", ["test.2016", "train.en-de", "a b", "val-2", "all", "_0_"])
def test_any_stem_is_a_split(folder, stem):
    """Every listed split can be opened, even if its files are named test.2016.en."""
    for language, lines in (("en", ENGLISH), ("de", GERMAN)):
        (folder / f"{stem}.{language}").write_text("\n".join(lines), encoding="utf-8")
    spec = f"parallel:{folder}.{{en,de}}"
    source = read_pairs(spec, f"{stem} [1:3]+val[:1]+{stem}[3:]")
    assert [pair[0] for pair in source] == [ENGLISH[i] for i in (1, 2, 0, 3)]
    assert len(read_pairs(spec, stem)) == 4
    with pytest.raises(SourceError, match=re.escape(f"Unrecognized split format: '{stem}[1:'")):
        read_pairs(spec, f"{stem}[1:")


def test_similar_stems_are_different_splits(folder):
    """Protects results from the wrong text for all names of a split."""
    for stem, lines in (("test.2016", ENGLISH[:1]), ("test-2e-2016", ENGLISH[1:])):
        for language in ("en", "de"):
            (folder / f"{stem}.{language}").write_text("\n".join(lines))
    source = read_pairs(f"parallel:{folder}.{{en,de}}", "test-2e-2016+test.2016")
    assert [pair[0] for pair in source] == [*ENGLISH[1:], ENGLISH[0]]


def test_stems_that_no_expression_can_name_are_not_listed(folder):
    """Protects users from advice that does not work."""
    for stem in ("x+y", "p[q]", "t "):
        for language in ("en", "de"):
            (folder / f"{stem}.{language}").write_text("A")
    with pytest.raises(SourceError, match=r"available: train, val\."):
        read_pairs(f"parallel:{folder}.{{en,de}}", "x")


def test_only_the_split_asked_for_is_read(folder):
    """Opening the validation split does not read the training text."""
    (folder / "train.en").write_bytes(b"\xff")
    assert len(read_pairs(f"parallel:{folder}.{{en,de}}", "val")) == 2


def test_lines_end_at_newlines_only(folder):
    """Line separators inside sentences and Windows line ends do not change pairs."""
    (folder / "odd.en").write_bytes("\ufeffone\u2028two\x85three\r\n\r\nfour\r\n".encode())
    (folder / "odd.de").write_bytes(b"eins\n\nvier\n")
    source = read_pairs(f"parallel:{folder}.{{en,de}}", "odd")
    assert source == [("one\u2028two\x85three", "eins"), ("", ""), ("four", "vier")]


def damage_lines(folder):
    (folder / "train.de").write_text("Ein Hund.\n")


def damage_encoding(folder):
    (folder / "train.de").write_bytes(b"Ein Hund.\nDrei V\xf6gel.\n")


def damage_archive(folder):
    path = folder / "val.en.gz"
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("languages", "split", "damage", "words"),
    [
        ("en,de", "trian", None, ["'trian'", "train, val", "Did you mean 'train'"]),
        ("en,de", "test", None, ["'test' in both en and de"]),
        ("en,de", "train[:", None, ["'train[:'", "4 examples"]),
        ("en,de", "train[:0]", None, ["selects no examples"]),
        ("en,fr", "train", None, ["'fr'", "de, en"]),
        ("en,de", "train", damage_lines, ["train.en has 4 lines", "train.de has 1"]),
        ("en,de", "train", damage_encoding, ["train.de", "line 2", "0xf6", "UTF-8"]),
        ("en,de", "val", damage_archive, ["val.en.gz", "gzip"]),
    ],
)
def test_folder_errors(folder, languages, split, damage, words):
    """Each error states the value and the valid values."""
    if damage:
        damage(folder)
    with pytest.raises(SourceError) as caught:
        read_pairs(f"parallel:{folder}.{{{languages}}}", split)
    for word in words:
        assert word in str(caught.value)


def test_missing_folder(tmp_path):
    """The error shows the files that were expected."""
    with pytest.raises(SourceError, match=r"train\.en"):
        read_pairs(f"parallel:{tmp_path}/nowhere.{{en,de}}", "train")


@pytest.mark.parametrize(
    "spec", ["number_word", "parallel:x", "parallel:x.en", "tfds:wmt", "folder:x.{en,de}", ""]
)
def test_malformed_specs(spec):
    """The error lists the valid forms; the likely cause is that the shell expanded the braces."""
    with pytest.raises(SourceError) as caught:
        read_pairs(spec, "train")
    for form in ("number_words", "parallel:FOLDER.{en,de}", "tfds:NAME.{en,de}", "quotes"):
        assert form in str(caught.value)


def test_number_words_open_like_any_other():
    """The generated data set has the splits, slices and aliases of a stored one."""
    source = read_pairs("number_words", "val[:10]")
    assert len(source) == 10
    assert source[0] == read_pairs("number_words", "validation")[0]
    with pytest.raises(SourceError, match="validation"):
        read_pairs("number_words", "valdation")


class TwoAnimals(tfds.core.GeneratorBasedBuilder):
    """A translation data set of TFDS with a configuration, which many data sets have."""

    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name="de-en", version="1.0.0"),
        tfds.core.BuilderConfig(name="labels", version="1.0.0"),
    ]

    def _info(self):
        features = tfds.features.Translation(languages=("de", "en"))
        if self.builder_config.name == "labels":
            features = tfds.features.FeaturesDict({"de": tfds.features.Text()})
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number, (english, german) in enumerate(zip(ENGLISH, GERMAN, strict=True)):
            both = {"en": english, "de": german}
            yield number, {name: both[name] for name in self.info.features}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Where TFDS prepares its data sets."""
    return str(tmp_path_factory.mktemp("tfds"))


def test_tfds_translation(data_dir):
    """A data set is prepared on first use; its records become pairs in the order of the braces."""
    source = read_pairs("tfds:two_animals/de-en:1.0.0.{de,en}", "train", data_dir)
    # TFDS shuffles when it prepares.
    assert sorted(source) == sorted(zip(GERMAN, ENGLISH, strict=True))
    part = read_pairs("tfds:two_animals/de-en.{en,de}", "train[1:3]", data_dir)
    assert [tuple(reversed(pair)) for pair in part] == source[1:3]


@pytest.mark.parametrize(
    ("spec", "split", "word"),
    [
        ("tfds:two_animals/de-en.{en,fr}", "train", "'fr'; available: de, en"),
        ("tfds:two_animals/de-en.{en,de}", "test", "'train' (4 examples)"),
        ("tfds:two_animals/labels.{en,de}", "train", "expected the feature Translation"),
    ],
)
def test_tfds_errors(data_dir, spec, split, word):
    """A data set without these languages, splits or translations is named as such."""
    with pytest.raises(SourceError) as caught:
        read_pairs(spec, split, data_dir)
    assert word in str(caught.value)


def test_compressed_bombs_are_refused(tmp_path, monkeypatch):
    """3 MB of zeros in 3 kB are refused before memory is allocated for them."""
    monkeypatch.setattr(limits, "ALWAYS_ALLOWED", 1 << 20)
    for language in ("en", "de"):
        (tmp_path / f"train.{language}.gz").write_bytes(gzip.compress(bytes(3_000_000)))
    with pytest.raises(SourceError, match=r"train\.en\.gz.* unpacks to more than 1,048,576 bytes"):
        read_pairs(f"parallel:{tmp_path}.{{en,de}}", "train")
