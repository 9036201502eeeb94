"""Stratified folds of the training examples."""

import itertools

import numpy as np
import pytest

from netzoo.config import default_config, load_config, save_config
from netzoo.data.folds import Fold, FoldSource, fold_members, parse_fold
from netzoo.data.source import ImageError, SourceError
from netzoo.data.sources import open as sources
from netzoo.data.sources.open import open_source
from netzoo.errors import UserError
from netzoo.tasks import create_task, resolve_config, run_config
from tests.conftest import tiny_config


@pytest.mark.parametrize(("count", "folds"), [(100, 2), (101, 5), (37, 10), (12, 12)])
def test_folds_are_disjoint_complete_and_stratified(count, folds):
    """Protects the choice of recipes: every fold has each class's share, within one example."""
    labels = np.random.default_rng(0).choice(3, count, p=(0.6, 0.3, 0.1))
    parts = [fold_members(labels, Fold(i, folds, 0)) for i in range(folds)]
    assert sorted(np.concatenate(parts)) == list(range(count))
    assert np.ptp([*map(len, parts)]) <= 1
    for label in range(3):
        assert np.ptp([(labels[part] == label).sum() for part in parts]) <= 1
    for i, part in enumerate(parts):
        rest = fold_members(labels, Fold(i, folds, 0, others=True))
        assert sorted([*part, *rest]) == list(range(count))


def test_the_seed_alone_decides_the_folds():
    """Another seed makes other folds; the same seed the same ones, with any number of folds."""
    labels = np.arange(60) % 3
    first, again, other = (fold_members(labels, Fold(0, 4, seed)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert set(first) != set(other)
    assert set(fold_members(labels, Fold(0, 8, 0))) < set(first)


def test_no_class_is_taken_in_its_order():
    """Protects data sets whose examples are sorted: a fold is not a slice."""
    members = fold_members([0] * 50, Fold(0, 5, 0))
    assert len(set(np.diff(members))) > 1


def test_an_expression_says_which_fold():
    """Protects `config.json` and records, in which the expression stands."""
    for fold in (Fold(1, 5, 2), Fold(1, 5, 2, others=True)):
        assert parse_fold(f"train[:80%]+extra {fold}") == ("train[:80%]+extra", fold)
    assert parse_fold("train[:80%]") == ("train[:80%]", None)


def in_memory(rest, split):
    del rest
    return _Plain(split)


class _Plain:
    """A source without `names` and `labels`, one of whose examples cannot be read."""

    name, class_names = "plain", ("even", "odd")

    def __init__(self, split):
        self.split, self.reads = split, []

    def __len__(self):
        return 20

    def __getitem__(self, index):
        self.reads.append(index)
        if index == 3:
            raise ImageError("Cannot read plain 3.")
        return {"image": b"", "label": index % 2, "name": f"plain {self.split} example {index}"}


@pytest.mark.parametrize("spec", ["folder", "plain:x", pytest.param("synthetic_flowers")])
def test_every_source_has_folds(spec, flowers, monkeypatch):
    """Folders know their labels; TFDS data sets, synthetic flowers and other sources are read."""
    monkeypatch.setitem(sources.SOURCES, "plain", in_memory)
    spec = f"folder:{flowers}" if spec == "folder" else spec
    whole = open_source(spec, "train[:20]", skip_corrupt=True)
    parts = [
        open_source(spec, f"train[:20] fold {i}/4 seed 0", skip_corrupt=True) for i in range(4)
    ]
    names = [[*part.names] for part in parts]
    assert len(set(itertools.chain(*names))) == len(whole) == 20
    for part in parts:
        assert part.class_names == whole.class_names
        for index, name in enumerate(part.names):
            if name != "plain train[:20] example 3":
                assert part[index]["name"] == name
    without = open_source(spec, "train[:20] without fold 0/4 seed 0", skip_corrupt=True)
    assert {*without.names} == {*itertools.chain(*names[1:])}


def test_an_example_without_a_label_stops_unless_corrupt_ones_are_skipped():
    """`data.on_corrupt` decides here too."""
    with pytest.raises(ImageError, match="plain 3"):
        FoldSource(_Plain("train"), Fold(0, 2, 0))
    assert len(FoldSource(_Plain("train"), Fold(0, 2, 0), skip_corrupt=True)) == 10


def test_a_folder_is_not_read_for_its_labels(flowers, monkeypatch):
    """Protects the start of a run on a large folder."""
    monkeypatch.setattr("netzoo.data.sources.image_files.read_file", lambda *_: pytest.fail("read"))
    assert len(open_source(f"folder:{flowers}", "train fold 0/4 seed 0")) == 5


def test_more_folds_than_examples(flowers):
    """The error names both numbers."""
    with pytest.raises(SourceError, match=r"no fold 0/21 seed 0 of the 20 examples.*k <= 20"):
        open_source(f"folder:{flowers}", "train fold 0/21 seed 0")


FOLD_0 = ("{} without fold 0/4 seed 7", "{} fold 0/4 seed 7")


def splits(config):
    return config.data.train_split, config.data.validation_split, config.data.test_split


@pytest.mark.parametrize(
    ("given", "base", "test"),
    [
        (("train[:80%]", None, "train[80%:]"), "train[:80%]", "train[80%:]"),
        ((None, None, None), "train[:80%]", "train[80%:]"),
    ],
)
def test_a_fold_divides_the_training_split_alone(given, base, test, flowers):
    """The test split stays as it is, and no validation split is cut off besides the fold."""
    config = default_config()
    config.data.update(source=f"folder:{flowers}", fold=(0, 4), fold_seed=7)
    config.data.update(train_split=given[0], validation_split=given[1], test_split=given[2])
    resolved = resolve_config(config, training=True)
    assert splits(resolved) == (*(text.format(base) for text in FOLD_0), test)
    assert resolved == resolve_config(resolved, training=True)


def test_a_run_keeps_its_fold(pictures, tmp_path):
    """`config.json` has the fold; `netzoo eval` takes another one if it is asked to."""
    config = tiny_config(pictures)
    config.data.update(validation_split=None, fold=(0, 4), fold_seed=7)
    resolved = resolve_config(config, training=True)
    save_config(resolved, tmp_path)
    saved = load_config(tmp_path)
    assert splits(saved) == (*(text.format("train") for text in FOLD_0), "test")
    assert splits(run_config(tmp_path)) == splits(saved)
    saved.data.fold = (1, 4)
    assert run_config(tmp_path, saved).data.validation_split == "train fold 1/4 seed 7"
    task = create_task(config)
    assert task.steps_per_epoch == 30 // 8
    masks = [b["mask"] for b in task.evaluation_batches(resolved.data.validation_split)]
    assert np.concatenate(masks).sum() == 10


def test_a_fold_beside_a_validation_split_is_refused(pictures):
    """Protects from guessing which of the two selects the best weights."""
    config = tiny_config(pictures)
    config.data.fold = (0, 4)
    with pytest.raises(UserError, match=r"data\.fold is \(0, 4\) and data\.validation_split is 'v"):
        resolve_config(config, training=True)


def test_sentences_have_no_folds():
    """Sentences have no classes; the translator's configuration lacks the key."""
    config = default_config("translation")
    config.data.fold = (0, 4)
    with pytest.raises(UserError, match=r"data\.fold"):
        resolve_config(config)
