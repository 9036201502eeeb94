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


def test_the_configuration_alone_opens_no_source():
    """Protects `--print-config` and `plan --classes`, which need no data."""
    config = default_config()
    config.data.source = "folder:nowhere"
    assert resolve_config(config, open_data=False).data.train_split is None
