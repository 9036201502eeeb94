"""Default splits and the aliases of splits."""

import pytest

from netzoo.config.rules import are_apart
from netzoo.data.source import SourceError
from netzoo.data.splits import (
    check_apart,
    default_splits,
    resolve_split,
    split_aliases,
    split_role,
)


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        ("train", {}, ("train[:72%]", "train[72%:80%]", "train[80%:]")),
        ("train test", {}, ("train[:90%]", "train[90%:]", "test")),
        ("train val", {}, ("train[:80%]", "val", "train[80%:]")),
        ("train validation test", {}, ("train", "validation", "test")),
        ("train valid test extra", {}, ("train", "valid", "test")),
        ("Training Testing", {}, ("Training[:90%]", "Training[90%:]", "Testing")),
        ("train dev test_2016_flickr", {}, ("train[:80%]", "dev", "train[80%:]")),
        ("train val validation test eval", {}, ("train", "validation", "test")),
        ("train test", {"test": "test[:9]"}, ("train[:90%]", "train[90%:]", "test[:9]")),
        ("train val", {"test": "val"}, ("train[:90%]", "train[90%:]", "val")),
        ("train test", {"validation": "test"}, ("train[:80%]", "test", "train[80%:]")),
        ("train val", {"validation": "val", "test": "other"}, ("train", "val", "other")),
    ],
)
def test_what_a_source_lacks_is_cut_from_its_training_split(names, given, expected):
    """Protects the table of docs/data.md; the three splits are disjoint."""
    splits = default_splits(names.split(), **given)
    assert splits == expected
    assert all(are_apart(a, b) for a, b in zip(splits, splits[1:] + splits[:1], strict=True))


@pytest.mark.parametrize("count", [10, 30, 734, 3670])
def test_the_parts_of_one_split_are_all_of_it(count):
    """Protects small folders: every split has an example, and every example is in one split."""
    parts = [resolve_split(split, {"train": count})[0][1] for split in default_splits(["train"])]
    assert [i for part in parts for i in part] == list(range(count))
    assert all(map(len, parts))


@pytest.mark.parametrize("names", [["val"], ["extra", "test"]])
def test_a_source_without_a_training_split(names):
    """Protects a folder with val/ alone from being trained on."""
    with pytest.raises(SourceError, match=r"needs a training split.*data\.train_split"):
        default_splits(names)


@pytest.mark.parametrize("given", [{}, {"validation": "val"}, {"test": "val"}])
def test_a_training_split_that_contains_the_validation_split(given):
    """Protects the evaluation of `trainval/`, `val/` and `test/` from images of the training."""
    with pytest.raises(SourceError, match="trainval usually contains the examples of val"):
        default_splits(["trainval", "val", "test"], **given)
    assert default_splits(["trainval", "test"])[2] == "test"


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("train", "train Train TRAINING trn trainval training_set train-images"),
        ("validation", "val valid Validation DEV development validationset val_data"),
        ("test", "test Testing tst eval evaluation test_set Test-Split"),
        (None, "tests trains bullet_train train2017 seg_train trial vale deva contest"),
    ],
)
def test_words_for_splits(role, names):
    """Protects the words of docs/data.md, in any case, and class names that contain them."""
    assert [split_role(name) for name in names.split()] == [role] * len(names.split())


def test_a_split_has_many_names():
    """Protects all words of a split, and folders that have two of them."""
    aliases = split_aliases(["train", "val", "test", "eval", "notes"])
    assert aliases["validation"] == aliases["dev"] == "val" and aliases["training"] == "train"
    assert not {"val", "testing", "evaluation"} & {*aliases}


def test_a_source_is_counted_once():
    """Protects the time of large sources: three slices of one split need one count."""
    counted = []
    splits = {"a": "train[:50]", "b": "train[50%:80]", "c": "train[80%:]"}
    check_apart(splits, {"train": lambda: counted.append("train") or 100})
    assert counted == ["train"]
