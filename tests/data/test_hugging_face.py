"""Data sets of the package `datasets`, from files that the tests write, offline."""

import collections
import io
import sys

import numpy as np
import pytest
from PIL import Image

from netzoo.data import DatasetNotFoundError, ImageError, Source, TrainBatches, open_source
from netzoo.data.source import SourceError
from netzoo.data.sources.open import split_sizes
from netzoo.data.sources.order import mixed_order
from netzoo.errors import UserError
from tests.data.conftest import write_classes


def test_the_order_is_mixed_and_fixed():
    """Protects slices of data sets that are sorted by class, and continued runs."""
    assert sorted(mixed_order(1000)) == list(range(1000))
    assert len({*(mixed_order(1000)[:100] // 100)}) == 10
    assert mixed_order(8).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]


def test_without_the_package(monkeypatch):
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'netzoo\[datasets\]'"):
        open_source("hf:food101", "train")


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The package, with its cache in a folder of the test, and offline."""
    package = pytest.importorskip("datasets", reason="needs the extra datasets")
    monkeypatch.setattr(package.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(package.config, "HF_HUB_OFFLINE", True)
    return package


def png(value: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (8, 8), (value,) * len(mode) if len(mode) > 1 else value).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def write(datasets, tmp_path):
    """Return a function that writes Parquet files of images with labels, and returns the source."""

    def parquet(label, labels, test=(), mode="L"):
        features = datasets.Features({"id": datasets.Value("int64"), "photo": datasets.Image()})
        features["label"] = label
        (tmp_path / "set").mkdir()
        for split, found in {"train": labels, "test": test}.items():
            images = [{"bytes": png(n, mode), "path": f"{n}.png"} for n in range(len(found))]
            columns = {"id": range(len(found)), "photo": images, "label": list(found)}
            if found:
                file = tmp_path / "set" / f"{split}-00000-of-00001.parquet"
                datasets.Dataset.from_dict(columns, features=features).to_parquet(str(file))
        return f"hf:{tmp_path / 'set'}"

    return parquet


def number(source, index):
    """Return the number of an example, from its pixels."""
    return np.asarray(Image.open(io.BytesIO(source[index]["image"])))[0, 0].item()


def test_classes_and_files(write, datasets, capsys):
    """Images stay encoded; classes have the names and order of the data set."""
    spec = write(datasets.ClassLabel(names=["b", "a"]), [0] * 6 + [1] * 6, [1, 0])
    assert {name: count() for name, count in split_sizes(spec).items()} == {"train": 12, "test": 2}
    source = open_source(spec, "train")
    assert isinstance(source, Source) and not source.multi_label
    assert source.class_names == ("b", "a") and len(source) == 12
    for index in range(12):
        row, example = number(source, index), source[index]
        assert example["label"] == source.labels[index] == int(row >= 6)
        assert example["image"] == png(row, "L")
        assert example["name"] == source.names[index] == f"train/{row}/{row}.png"
    parts = [open_source(spec, split) for split in ("train[:50%]", "train[50%:]")]
    assert [*parts[0].names, *parts[1].names] == source.names
    assert all(len({*part.labels.tolist()}) == 2 for part in parts)
    assert len(open_source(spec, "test")) == 2
    assert "2 classes (b, a); train (12 images), test (2 images)" in capsys.readouterr().err


def test_grey_batches_are_functions_of_seed_and_position(write, datasets):
    """Protects continued runs, and grey images such as MNIST's, in batches of three channels."""
    spec = write(datasets.ClassLabel(names=["x", "y"]), [0, 1] * 5)

    def augmentation(example, size, rng):
        row = int(example["name"].split("/")[1])
        return np.full((size, size, 3), row + rng.integers(100, 200), np.uint8)

    def batch(seed):
        options = {"batch_size": 4, "image_size": 4, "augmentation": augmentation}
        return TrainBatches(open_source(spec, "train"), seed=seed, **options)[5]

    for key in ("image", "label"):
        np.testing.assert_array_equal(batch(0)[key], batch(0)[key])
    assert (batch(0)["image"] != batch(1)["image"]).any()


def test_lists_of_classes_are_multi_label(write, datasets):
    """An image may have any number of classes."""
    classes = datasets.List(datasets.ClassLabel(names=["cat", "dog"]))
    source = open_source(write(classes, [[0, 1], [], [1]]), "train")
    assert source.multi_label and source.labels.dtype == np.float32
    found = {number(source, i): source[i]["label"].tolist() for i in range(3)}
    assert found == {0: [1, 1], 1: [0, 0], 2: [0, 1]}


@pytest.mark.parametrize(
    ("kind", "values", "class_names"),
    [("string", ["b", "a", "b"], ("a", "b")), ("int32", [10, 9, 10], ("9", "10"))],
)
def test_texts_and_numbers_are_classes(kind, values, class_names, write, datasets):
    """Protects Parquet files without types of Hugging Face."""
    source = open_source(write(datasets.Value(kind), values), "train")
    assert source.class_names == class_names
    for index in range(3):
        assert class_names[source[index]["label"]] == str(values[number(source, index)])


def test_a_folder_of_images(datasets, tmp_path):
    """`hf:imagefolder:PATH` reads the files of a folder at their places."""
    write_classes(tmp_path / "photos", ("a", "b"), count=3)
    source = open_source(f"hf:imagefolder:{tmp_path / 'photos'}", "train")
    assert source.class_names == ("a", "b") and len(source) == 6
    for index in range(6):
        name = source[index]["name"].split("/")[-1]
        file = tmp_path / "photos" / "ab"[source[index]["label"]] / name
        assert source[index]["image"] == file.read_bytes()
    file.unlink()
    with pytest.raises(ImageError, match=f"Cannot read train/.*{name}"):
        source[5]


def test_a_saved_data_set(write, datasets, tmp_path):
    """What `save_to_disk` wrote is opened too."""
    spec = write(datasets.ClassLabel(names=["x", "y"]), [0, 1])
    datasets.load_dataset(spec[3:], split="train").save_to_disk(str(tmp_path / "saved"))
    source = open_source(f"hf:{tmp_path / 'saved'}", "train")
    assert collections.Counter(source.labels.tolist()) == {0: 1, 1: 1}


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 1], "?colour=red", "the option 'colour'; expected one of: image, label, config"),
        ([0, 1], "?label=lable", "no column 'lable'. Did you mean 'label'"),
        ([0, 1], "?image=id", "no column 'id'.* columns are photo"),
        ([0, -1], "", "1 of 2 images have no class"),
        ([0, None], "", "1 of 2 images have no class"),
    ],
)
def test_what_is_refused(labels, options, message, write, datasets):
    """Each mistake is an error before training."""
    spec = write(datasets.ClassLabel(names=["x", "y"]), labels) + options
    with pytest.raises(SourceError, match=message):
        open_source(spec, "train")


def test_other_columns_are_refused(write, datasets):
    """A label must be a class."""
    spec = write(datasets.Value("float32"), [0.5, 1.5])
    with pytest.raises(SourceError, match=r"the label is a column of .*float32.*label=COLUMN"):
        open_source(spec, "train")


@pytest.mark.parametrize("place", ["nobody/nothing", "imagefolder:/nowhere"])
def test_missing_data_sets(place, datasets):
    """The error lists the forms of names."""
    with pytest.raises(DatasetNotFoundError, match=rf"hf:{place}: .*\nExpected hf:NAME or "):
        open_source(f"hf:{place}", "train")
