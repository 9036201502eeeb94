"""CSV files that list images: columns, splits, label vectors, and errors with the line."""

import numpy as np
import pytest

from netzoo.data import ImageError, Source, TrainBatches, open_source
from netzoo.data.source import SourceError, fingerprint_of
from netzoo.data.sources.open import split_sizes
from tests.data.conftest import jpeg

SPLITS = ("train", "train", "train", "val", "test")


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a list beside five images, and returns its specification."""
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))

    def list_of(text, options="", name="list.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return f"csv:{tmp_path / name}{options}"

    return list_of


def rows(header, line, count=5):
    return "\n".join([header, *(line.format(n=n, split=SPLITS[n]) for n in range(count))])


def labels_by_name(source):
    return {source[i]["name"]: source[i]["label"] for i in range(len(source))}


@pytest.mark.parametrize(
    "text",
    [
        rows("path,label", "{n}.jpg,class {n}"),
        rows("File Name;Category;note", "{n}.jpg;class {n};x"),
        rows("label\timage_path", "class {n}\t{n}.jpg"),
        "\N{BYTE ORDER MARK}" + rows("path,label", '"{n}.jpg", class {n} ') + "\n\n",
    ],
)
def test_columns_by_their_usual_names(text, write, tmp_path, capsys):
    """Protects lists of spreadsheets: other separators, orders of columns and further columns."""
    source = open_source(write(text), "train")
    assert isinstance(source, Source) and not source.multi_label
    assert source.class_names == tuple(f"class {n}" for n in range(5))
    assert labels_by_name(source) == {f"{n}.jpg": n for n in range(5)}
    assert source[0]["image"] == (tmp_path / source[0]["name"]).read_bytes()
    assert list(source.labels) == [source[i]["label"] for i in range(5)]
    [line] = capsys.readouterr().err.splitlines()
    assert "5 classes (class 0, class 1, " in line and "train (5 images)" in line


def test_options_name_the_columns(write, tmp_path):
    """The options win over usual names, and `root` says where the files are."""
    (tmp_path / "lists").mkdir()
    text = rows("path,label,photo file,species,fold", "nowhere,x,{n}.jpg,a,{split}")
    options = f"?path=photo file&label=species&split=fold&root={tmp_path}"
    source = open_source(write(text, options, "lists/list.csv"), "train")
    assert labels_by_name(source) == {"0.jpg": 0, "1.jpg": 0, "2.jpg": 0}
    assert source.class_names == ("a",)


def test_numbers_are_in_the_order_of_numbers(write):
    """Protects labels of ten classes and more, of which `10` comes after `9`."""
    assert open_source(write("path,label\n0.jpg,10\n1.jpg,9"), "train").class_names == ("9", "10")


def test_a_column_of_splits(write):
    """The words for splits are those of folders, and the training split defines the classes."""
    text = "path,label,split\n0.jpg,b,train\n1.jpg,a,train\n2.jpg,b,val\n3.jpg,b,test\n4.jpg,a,test"
    spec = write(text)
    assert {name: count() for name, count in split_sizes(spec).items()} == {
        **{"train": 2, "val": 1, "test": 2}
    }
    assert labels_by_name(open_source(spec, "validation")) == {"2.jpg": 1}
    assert labels_by_name(open_source(spec, "test")) == {"3.jpg": 1, "4.jpg": 0}
    assert len(open_source(spec, "train+test[:50%]")) == 3


def test_the_order_is_that_of_the_paths(write):
    """Sorting the list or adding a line does not reorder the others, so a run continues."""
    text = rows("path,label", "{n}.jpg,{n}", 4)
    first, *others = text.splitlines()
    before = open_source(write(text), "train").names
    turned = open_source(write("\n".join([first, *others[::-1]])), "train").names
    after = open_source(write(f"{text}\n4.jpg,4"), "train").names
    assert before == turned == [name for name in after if name != "4.jpg"]


MULTI = "path,cat,dog,split\n0.jpg,1,0,train\n1.jpg,1,1,train\n2.jpg,0,0,train\n3.jpg,0,1,test\n"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (MULTI, ""),
        (MULTI, "?labels=cat,dog"),
        (MULTI.replace("cat", "label"), "?labels=label,dog"),
        (MULTI.replace("cat,", "red, wild,"), "?labels=red%2C wild,dog"),
    ],
)
def test_several_columns_of_labels(text, options, write):
    """Columns of zeros and ones make label vectors, in the order of the columns."""
    text = text.replace("red, wild", '"red, wild"')
    source = open_source(write(text, options), "train")
    assert source.multi_label and len(source.class_names) == 2 and source.class_names[1] == "dog"
    found = labels_by_name(source)
    assert {name: label.tolist() for name, label in found.items()} == {
        **{"0.jpg": [1, 0], "1.jpg": [1, 1], "2.jpg": [0, 0]}
    }
    assert found["0.jpg"].dtype == np.float32


def test_columns_of_labels_in_their_own_order(write):
    """The option also selects columns, so that a list may have further ones of zeros and ones."""
    source = open_source(write(MULTI, "?labels=dog"), "test")
    assert source.class_names == ("dog",) and source[0]["label"].tolist() == [1]


def test_the_fingerprint_covers_the_labels(write):
    """Protects continued runs and stored features from a list whose labels were corrected."""
    lists = ["path,label\n0.jpg,a\n1.jpg,b", "path,label\n0.jpg,b\n1.jpg,a"]
    first, other = (fingerprint_of(open_source(write(text), "train")) for text in lists)
    assert first["names"] == other["names"] and first["labels"] != other["labels"]


def test_batches_are_functions_of_seed_and_position(write):
    """Protects the continuation of a run: batch 3 is the same after a restart, and seeds differ."""

    def augmentation(example, size, rng):
        return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)

    def batch(seed):
        source = open_source(write(MULTI), "train")
        options = {"batch_size": 2, "image_size": 4, "augmentation": augmentation}
        return TrainBatches(source, seed=seed, **options)[3]

    for key in ("image", "label"):
        np.testing.assert_array_equal(batch(0)[key], batch(0)[key])
    assert (batch(0)["image"] != batch(1)["image"]).any()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("path,label\n0.jpg,a", "?label=lable", "no column 'lable'. Did you mean 'label'"),
        ("path,label\n0.jpg,a", "?colour=red", "the option 'colour'; expected one of: path"),
        ("photo,label\n0.jpg,a", "", r"for the path \(path, .*columns are photo, label.*path=COL"),
        ("path,species\n0.jpg,a", "", r"for the label \(label, .*are path, species.*label=COLUMN"),
        ("0.jpg,a\n1.jpg,b", "", "expected the names of the columns, such as path,label"),
        ("path,label,label\n0.jpg,a,b", "", "expected different names"),
        ("path,label\n", "", "does not list images"),
        ("path,label\n0.jpg,a\n1.jpg", "", "line 3: it has 1 values; expected 2"),
        ("path,label\n0.jpg,a\n1.jpg,", "", "line 3: the label is empty"),
        ("path,label\n,a\n1.jpg,b", "", "line 2: the path is empty"),
        ("path,label\n0.jpg,a\n0.jpg,b", "", "0.jpg in line 2 and again in line 3"),
        ("path,label,split\n0.jpg,a,\n1.jpg,b,train", "", "line 2: split is empty"),
        (
            "path,label,split\n0.jpg,daisy,train\n1.jpg,dasy,test",
            "",
            "line 3: the label is 'dasy', which does not occur in the tr.*Did you mean 'daisy'",
        ),
        ("path,label\n0.jpg,a\n9.jpg,b", "", r"1 of 2 images .* missing: 9.jpg \(line 3\).*root="),
        ("path,label\n0.jpg,a\n./0.jpg,b", "", r"lists ./0.jpg in line 2 and again"),
        (f"path,label\n0.jpg,a\n{'9' * 300}.jpg,b", "", r"1 of 2 images .* missing: 999"),
        ("path,label,split\n0.jpg,a,Train\n1.jpg,b,train", "", "the splits Train and train"),
        ("\npath,label\n0.jpg,a", "", "first line of .* is empty"),
        ('path,label\n0.jpg,a\n1.jpg,"b\nc"', "", r"the name 'b\\\\nc', which is not printable"),
        ("path,a,b\n0.jpg,1,0", "?labels=a,a", "has the class a twice"),
        ("path,label\n0.jpg,a", "?label=label&label=path", "sets the option label twice"),
        ("path,label\n0.jpg,a", "?root=/nowhere", "holds no 'nowhere'"),
        ("path,a,b\n0.jpg,1,2", "?labels=a,b", "line 2: b is '2'; expected 0 or 1"),
        ("path,a,b\n0.jpg,1,0", "?labels=a,c", "no column 'c'"),
        ("path,a,b\n0.jpg,1,0", "?labels=a&label=b", "label and labels, got both"),
        ('path,label\n0.jpg,"a', "", "not a CSV file in UTF-8"),
    ],
)
def test_what_is_refused(text, options, message, write):
    """Each mistake has its line in the list, and what to do."""
    with pytest.raises(SourceError, match=message):
        open_source(write(text, options), "train")


def test_missing_lists_and_corrupt_images(write, tmp_path, capsys):
    """A missing list is an error, and `data.on_corrupt` decides about corrupt images."""
    with pytest.raises(SourceError, match=r"Cannot read the list .*none\.csv: No such file"):
        open_source(f"csv:{tmp_path}/none.csv", "train")
    with pytest.raises(SourceError, match=r"Did you mean 'csv:photos/list\.csv'"):
        open_source("photos/list.csv", "train")
    spec = write(rows("path,label", "{n}.jpg,{n}"))
    (tmp_path / "3.jpg").write_bytes(b"<html>404</html>")
    with pytest.raises(ImageError, match=r"3\.jpg.*data\.on_corrupt=skip"):
        open_source(spec, "train")
    assert len(open_source(spec, "train", skip_corrupt=True)) == 5
    assert "1 of 5 files" in capsys.readouterr().err
