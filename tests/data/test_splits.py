"""Default splits and the aliases of splits."""

import pytest

from netzoo.config.rules import are_apart
from netzoo.data.sources.open import split_names
from netzoo.data.splits import default_splits, resolve_split, validation_aliases


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        ("train", {}, ("train[:72%]", "train[72%:80%]", "train[80%:]")),
        ("train test", {}, ("train[:90%]", "train[90%:]", "test")),
        ("train val", {}, ("train[:80%]", "val", "train[80%:]")),
        ("train validation test", {}, ("train", "validation", "test")),
        ("train valid test extra", {}, ("train", "valid", "test")),
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


@pytest.mark.parametrize(
    ("splits", "aliases"),
    [
        (["train", "val"], {"validation": "val", "valid": "val"}),
        (["validation"], {"val": "validation", "valid": "validation"}),
        (["valid", "val"], {}),
        (["train"], {}),
    ],
)
def test_a_validation_split_has_three_names(splits, aliases):
    """Protects both names of the validation split, and folders that have both."""
    assert validation_aliases(splits) == aliases


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_names_of_the_splits_of_a_folder(validation, tmp_path):
    """Protects the splits of folders; a folder of classes is one split."""
    for name in ("train", validation, "notes"):
        (tmp_path / name / "roses").mkdir(parents=True)
    assert [*split_names(f"folder:{tmp_path}")] == ["train", validation]
    assert [*split_names(f"folder:{tmp_path / 'train'}")] == ["train"]
