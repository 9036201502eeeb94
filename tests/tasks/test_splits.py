"""The default splits of runs."""

import pytest

from netzoo.config import default_config
from netzoo.errors import UserError
from netzoo.tasks import resolve_config

NAMES = ("train_split", "validation_split", "test_split")


def folder_of(root, *splits):
    """Make class folders, under `splits` if there are any; their images are never opened."""
    for split in splits or ("",):
        for name in ("cats", "dogs"):
            (root / split / name).mkdir(parents=True)
            (root / split / name / "0.jpg").touch()
    return root


def resolved(source, task="image_classification", **values):
    config = default_config(task)
    config.data.source = str(source)
    config.data.update(values)
    data = resolve_config(config, training=True).data
    return tuple(data[name] for name in NAMES)


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ((), ("train[:72%]", "train[72%:80%]", "train[80%:]")),
        (("train", "valid"), ("train[:80%]", "valid", "train[80%:]")),
        (("Training", "Testing"), ("Training[:90%]", "Training[90%:]", "Testing")),
        (("train", "val", "test"), ("train", "val", "test")),
    ],
)
def test_a_folder_of_classes_needs_no_key(splits, expected, tmp_path):
    """Protects a user's photographs: three disjoint splits without changing a key."""
    assert resolved(f"folder:{folder_of(tmp_path, *splits)}") == expected


def test_a_folder_without_a_training_split(tmp_path):
    """Training never falls back to the validation images."""
    with pytest.raises(UserError, match="the splits val, and needs a training split"):
        resolved(f"folder:{folder_of(tmp_path, 'val')}")


def test_a_training_split_that_is_given_is_all_that_is_used(tmp_path):
    """Protects a given train split, for which no other split is derived."""
    source = f"folder:{folder_of(tmp_path, 'train', 'val', 'test')}"
    assert resolved(source, train_split="train") == ("train", None, None)
    with pytest.raises(UserError, match=r"shares no examples with data\.train_split, 'train'"):
        resolved(source, validation_split="train[90%:]")


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train[:80%]", "train[80%:]", "train[15:18]"),
        ("train[:80%]", "train[-5:]", None),
        ("train[:15]", "train[-6:]", None),
        ("train[5:]", None, "training[:6]"),
        ("train[:90%]", "train[90%:]", "all"),
        ("train", "eval[:50%]", "test[1:2]"),
        ("train", "val", "valid"),
        ("train[:80%]", None, "test+train[15:]"),
    ],
)
def test_splits_that_share_examples(train, validation, test, tmp_path):
    """Percentages and counts, and all words of one split, are compared once the source is open."""
    for split, count in (("train", 10), ("val", 2), ("test", 2)):
        for name in ("cats", "dogs"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count):
                (tmp_path / split / name / f"{index}.jpg").touch()
    splits = dict(zip(NAMES, (train, validation, test), strict=True))
    with pytest.raises(UserError, match=r"expected a split that shares no examples with data\."):
        resolved(f"folder:{tmp_path}", **splits)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train[:80%]", "train[16:18]"),
        ("train[:15]", "train[-5:]"),
        ("all[:50%]", "training[10:]"),
        ("train[:50%]+train[15:]", "train[10:15]"),
    ],
)
def test_splits_that_share_none(train, test, tmp_path):
    """Only examples that two splits really share are refused."""
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for index in range(10):
            (tmp_path / name / f"{index}.jpg").touch()
    found = resolved(f"folder:{tmp_path}", train_split=train, test_split=test)
    assert found == (train, None, test)


def test_sentences_have_splits_too(tmp_path):
    """Protects the second task: computed pairs, and files, whose stems are the splits."""
    expected = ("train", "validation", "test")
    assert resolved("number_words", "translation") == expected
    for stem in ("train", "val", "test_2016"):
        for language in ("en", "de"):
            (tmp_path / f"{stem}.{language}").write_text("1\n")
    source = f"parallel:{tmp_path}.{{en,de}}"
    found = resolved(source, "translation", test_split="test_2016")
    assert found == ("train", "val", "test_2016")
    for language in ("en", "de"):
        (tmp_path / f"val.{language}").rename(tmp_path / f"dev.{language}")
    assert resolved(source, "translation") == ("train[:80%]", "dev", "train[80%:]")
    with pytest.raises(UserError, match="shares no examples"):
        resolved(source, "translation", train_split="train[:80%]", test_split="train[0:1]")
    with pytest.raises(UserError, match="shares no examples"):
        resolved("number_words", "translation", train_split="test[:50%]", test_split="test[9:]")


def test_the_configuration_alone_opens_no_source():
    """Protects `--print-config` and `plan --classes`, which need no data."""
    config = default_config()
    config.data.source = "folder:nowhere"
    assert resolve_config(config, open_data=False).data.train_split is None
