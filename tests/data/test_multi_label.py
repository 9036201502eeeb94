"""The label vectors of multi-label sources, from the source to the batch."""

import numpy as np
import pytest

from netzoo.cli.contact_sheet import contact_sheet
from netzoo.data import EvalBatches, TrainBatches, with_cache
from netzoo.data.files import ImageError
from netzoo.data.folds import Fold, FoldSource, fold_members
from netzoo.data.relabel import RelabelledSource
from netzoo.data.source import HeldOutSource, class_text, is_multi_label, labels_of


@pytest.fixture
def tagged(memory_source):
    """A source of 12 images, whose tags say whether the index is divisible by 2 and by 3."""

    class Tagged(memory_source):
        class_names, multi_label = ("two", "three"), True

        def __getitem__(self, index):
            divisible = [index % 2 == 0, index % 3 == 0]
            return {**super().__getitem__(index), "label": np.array(divisible, np.float32)}

    return Tagged(12)


def test_batches_have_label_vectors(tagged):
    """A batch has the vector of each example beside its image."""
    [batch] = EvalBatches(tagged, batch_size=16, image_size=8)
    assert batch["label"].dtype == np.float32 and batch["label"].shape == (16, 2)
    assert batch["mask"].tolist() == [True] * 12 + [False] * 4
    expected = [[i % 2 == 0, i % 3 == 0] for i in range(12)] + [[0, 0]] * 4
    np.testing.assert_array_equal(batch["label"], expected)

    def augmentation(example, size, rng):
        return np.full((size, size, 3), int(example["name"].split()[1]), np.uint8)

    batch = TrainBatches(tagged, batch_size=8, image_size=4, seed=0, augmentation=augmentation)[1]
    index = batch["image"][:, 0, 0, 0]
    assert batch["label"].dtype == np.float32 and len({*index.tolist()}) == 8
    np.testing.assert_array_equal(batch["label"], np.stack([index % 2 == 0, index % 3 == 0], 1))


def test_wrapped_sources_keep_the_kind_of_their_labels(tagged, memory_source):
    """Protects multi-label data behind a cache, a fold, or a source that is held out."""

    def wrapped(source):
        yield with_cache(source, "encoded")
        yield FoldSource(source, Fold(0, 2, 0))
        yield RelabelledSource(source, source.class_names)
        yield HeldOutSource(source)

    assert all(map(is_multi_label, wrapped(tagged)))
    assert not any(map(is_multi_label, wrapped(memory_source(12))))


def test_class_names_order_the_vectors(tagged):
    """A network may have the classes in another order, and further classes."""
    source = RelabelledSource(tagged, ["three", "one", "two"])
    assert source[3]["label"].tolist() == [1, 0, 0]
    assert source[4]["label"].tolist() == [0, 0, 1]
    assert source[4]["label"].dtype == np.float32


def test_a_fold_has_its_share_of_each_combination(tagged):
    """An image of both classes is not the same as two images with one of the classes each."""
    labels = labels_of(tagged, skip_corrupt=False)
    for number in range(2):
        fold = FoldSource(tagged, Fold(number, 2, 0))
        np.testing.assert_array_equal(fold.labels, [fold[i]["label"] for i in range(len(fold))])
        assert len(np.unique(fold.labels, axis=0)) == 4
        members = fold_members(labels, Fold(number, 2, 0))
        assert (labels[members] == [1, 1]).all(1).sum() == 1  # of the images 0 and 6


def test_labels_of_unreadable_examples(tagged, monkeypatch):
    """`data.on_corrupt` decides; an unreadable example never looks like one without classes."""
    read = type(tagged).__getitem__

    def broken(self, index):
        if index == 5:
            raise ImageError("Cannot read memory 5.")
        return read(self, index)

    monkeypatch.setattr(type(tagged), "__getitem__", broken)
    with pytest.raises(ImageError, match="memory 5"):
        labels_of(tagged, skip_corrupt=False)
    labels = labels_of(tagged, skip_corrupt=True)
    assert labels[5].tolist() == [-1, -1] and (labels >= 0).all(1).sum() == 11


def test_pages_name_every_class_of_an_image(tagged):
    """A list of duplicates and a page name all classes; a contact sheet shows them all."""
    texts = [class_text(tagged[index]["label"], tagged.class_names) for index in (0, 1, 3)]
    assert texts == ["two + three", "no class", "three"]
    assert class_text(1, tagged.class_names) == "three"
    sheet = contact_sheet(tagged, columns=2, rows_per_class=1, tile_size=8)
    assert [sheet[row, column, 0] for row in (6, 16) for column in (-16, -6)] == [0, 2, 0, 3]
