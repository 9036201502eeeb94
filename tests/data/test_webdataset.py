"""Tar files of images and labels: patterns, the index in the cache, labels and errors."""

import gzip
import io
import json
import tarfile

import numpy as np
import pytest

from netzoo.data import ImageError, Source, TrainBatches, open_source
from netzoo.data.source import SourceError
from netzoo.data.sources.open import split_sizes
from netzoo.data.sources.webdataset import expand_braces
from netzoo.errors import UserError
from tests.data.conftest import jpeg


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of the indices."""
    monkeypatch.setenv("NETZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tar_indices"


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a tar of files, given by their names."""

    def tar(name, files, mode="w"):
        with tarfile.open(tmp_path / name, mode) as out:
            for file, content in files.items():
                info = tarfile.TarInfo(file)
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
        return tmp_path / name

    return tar


@pytest.fixture
def shards(write, tmp_path):
    """Three shards for training and one for tests, with four images each."""
    for name, shard in {"train-000": 0, "train-001": 1, "train-002": 2, "test-0": 3}.items():
        files = {"README": b"noise"}
        for n in range(4 * shard, 4 * shard + 4):
            files |= {f"{n:04d}.jpg": jpeg(n), f"{n:04d}.cls": f"{n % 2}\n".encode()}
        write(f"{name}.tar", files)
    return f"webdataset:{tmp_path}/train-{{000..002}}.tar?test=test-0.tar"


def test_images_and_labels(shards, capsys):
    """Every image has the label beside it, in mixed order, and slices divide the split."""
    source = open_source(shards, "train")
    assert isinstance(source, Source) and not source.multi_label
    assert source.class_names == ("0", "1") and len(source) == 12
    for index in range(12):
        example = source[index]
        number = int(example["name"].split("/")[1][:4])
        assert example["image"] == jpeg(number)
        assert example["label"] == source.labels[index] == number % 2
        assert example["name"] == source.names[index]
    parts = [open_source(shards, split) for split in ("train[:6]", "train[6:]")]
    assert [*parts[0].names, *parts[1].names] == source.names != sorted(source.names)
    assert [open_source(shards, "test")[i]["label"] for i in range(4)].count(1) == 2
    assert {k: v() for k, v in split_sizes(shards).items()} == {"train": 12, "test": 4}
    printed = capsys.readouterr().err
    assert "2 classes (0, 1); train (12 images), test (4 images)" in printed
    assert "ignored other files: 4 without extension" in printed


def test_the_index_is_kept_until_the_tar_changes(shards, cache, write, monkeypatch, capsys):
    """Later runs start fast, and a changed tar is not read by its old index."""
    before = open_source(shards, "train")
    assert len([*cache.iterdir()]) == 4 and "indexed 3 of 3 tar files" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr("tarfile.open", lambda *_, **__: pytest.fail("indexed again"))
        after = open_source(shards, "train")
        assert after.names == before.names and after[3]["image"] == before[3]["image"]
    write("train-001.tar", {"new.png": jpeg(99), "new.cls": b"1"})
    names = open_source(shards, "train").names
    assert "train-001.tar/new.png" in names and len(names) == 9
    assert [name for name in before.names if "001.tar" not in name] == [
        name for name in names if "001.tar" not in name
    ]
    for file in cache.iterdir():
        file.write_text('{"stamp": [')
    assert open_source(shards, "train").names == names


@pytest.mark.parametrize(
    "sample",
    [7, ["0.jpg"], ["0.jpg", "512", 9, "a"], ["0.jpg", 512, 9, {"a": 1}], [0, 512, 9, "a"]],
)
def test_a_damaged_index_is_made_again(sample, write, cache):
    """Protects from a crash, and from fields of another type in the examples."""
    spec = f"webdataset:{write('a.tar', {'0.jpg': jpeg(0), '0.cls': b'a'})}"
    before = open_source(spec, "train")[0]
    [file] = cache.iterdir()
    sound = json.loads(file.read_text())
    file.write_text(json.dumps({**sound, "samples": [sample]}))
    assert open_source(spec, "train")[0] == before
    assert json.loads(file.read_text()) == sound


def test_batches_are_functions_of_seed_and_position(shards):
    """Protects the continuation of a run."""

    def augmentation(example, size, rng):
        return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)

    def batch(seed):
        options = {"batch_size": 4, "image_size": 4, "augmentation": augmentation}
        return TrainBatches(open_source(shards, "train"), seed=seed, **options)[7]

    for key in ("image", "label"):
        np.testing.assert_array_equal(batch(0)[key], batch(0)[key])
    assert (batch(0)["image"] != batch(1)["image"]).any()


def labels_of_json(write, values, options=""):
    files = {}
    for number, value in enumerate(values):
        files |= {f"{number}.png": jpeg(number), f"{number}.json": json.dumps(value).encode()}
    source = open_source(f"webdataset:{write('a.tar', files)}{options}", "train")
    found = (source[index] for index in range(len(source)))
    return source, {example["name"].split("/")[1]: example["label"] for example in found}


def test_labels_in_json(write, tmp_path):
    """A label is a text or a number under a usual key, or under the key of the option."""
    source, labels = labels_of_json(write, [{"label": "b", "x": 0}, {"label": "a", "x": 7}])
    assert source.class_names == ("a", "b") and labels == {"0.png": 1, "1.png": 0}
    source, labels = labels_of_json(write, [{"label": "b", "x": 10}, {"x": 9}], "?label=x")
    assert source.class_names == ("9", "10") and labels == {"0.png": 1, "1.png": 0}
    (tmp_path / "names.txt").write_text("\N{BYTE ORDER MARK}daisy\nroses\ntulips\n", "utf-8")
    options = f"?classes={tmp_path / 'names.txt'}"
    source, labels = labels_of_json(write, [{"label": 2}, {"label": "daisy"}], options)
    assert source.class_names == ("daisy", "roses", "tulips")
    assert labels == {"0.png": 2, "1.png": 0}
    with pytest.raises(SourceError, match=r"a.tar/0.png: the label is '3'; expected one of the 3"):
        labels_of_json(write, [{"label": 3}], options)


def test_lists_of_labels_are_multi_label(write):
    """An image may have any number of classes."""
    source, labels = labels_of_json(write, [{"label": ["dog", "cat"]}, {"label": []}])
    assert source.multi_label and source.class_names == ("cat", "dog")
    assert {name: label.tolist() for name, label in labels.items()} == {
        **{"0.png": [1, 1], "1.png": [0, 0]}
    }
    assert labels_of_json(write, [[10, 9]])[0].class_names == ("9", "10")


def test_the_training_split_has_all_classes(write):
    """A class that only the test split has is an error, even if it looks like a class number."""
    tars = [
        write(f"{number}.tar", {"0.png": jpeg(0), "0.json": labels})
        for number, labels in enumerate([b'["a", "b"]', b'["1"]'])
    ]
    with pytest.raises(SourceError, match="the label is '1'; expected one of the 2 classes of the"):
        open_source(f"webdataset:{tars[0]}?test=1.tar", "test")


def test_a_tar_occurs_once(shards, tmp_path):
    """Protects evaluations: a test split with the images of the training split is refused."""
    tar = f"{tmp_path}/train-000.tar"
    for spec in (f"{tar}?test=train-000.tar", f"{tmp_path}/{{train-000,./train-000}}.tar"):
        with pytest.raises(SourceError, match="occurs twice, in train and in t"):
            open_source(f"webdataset:{spec}", "train")


def test_names_of_images_differ(write, tmp_path):
    """Protects the check for duplicates, which knows images by their names in all splits."""
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        write(f"{split}/0.tar", {"1.jpg": jpeg(0), "1.cls": b"a"})
    spec = f"webdataset:{tmp_path}/train/0.tar"
    assert open_source(spec, "train").names == ["0.tar/1.jpg"]
    write("train/1.tar", {"1.jpg": jpeg(0), "1.cls": b"a"})
    assert open_source(f"{spec}?test=../train/1.tar", "test").names == ["1.tar/1.jpg"]
    both = f"{spec}?validation=../val/0.tar"
    names = [open_source(both, split).names for split in ("train", "validation")]
    assert names == [["train/0.tar/1.jpg"], ["val/0.tar/1.jpg"]]


def test_a_label_occurs_once(write):
    """If two files had the same name, one would hide the label in the other."""
    tar = write("a.tar", {"0.jpg": jpeg(0), "0.cls": b"a"})
    with tarfile.open(tar, "a") as out:
        info = tarfile.TarInfo("0.cls")
        info.size = 1
        out.addfile(info, io.BytesIO(b"b"))
    with pytest.raises(SourceError, match=r"has the label 0\.cls twice"):
        open_source(f"webdataset:{tar}", "train")


def test_patterns():
    """Braces count and list as in a shell."""
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{9..11}") == ["9", "10", "11"]
    assert expand_braces("{a,b}-{0..1}") == ["a-0", "a-1", "b-0", "b-1"]
    assert expand_braces("plain.tar") == ["plain.tar"]
    for pattern in ("{0..99999999999}", "{0..9999}{0..9999}", "{5..4}"):
        with pytest.raises(SourceError, match="expected 1 to 100,000"):
            expand_braces(pattern)


def test_wildcards(shards, tmp_path):
    """`*` and `?` match the names of files."""
    assert len(open_source(f"webdataset:{tmp_path}/train-*.tar", "train")) == 12
    assert len(open_source(f"webdataset:{tmp_path}/train-00?.tar", "train")) == 12


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"0.jpg": jpeg(0)}, r"the image 0\.jpg has no label; expected a file 0\.cls or \.json"),
        ({"0.jpg": jpeg(0), "0.json": b"{"}, r"0\.json has no label: it is not JSON"),
        ({"0.jpg": jpeg(0), "0.json": b'{"x": 1}'}, r"has the keys x; expected label .*label=KEY"),
        ({"0.jpg": jpeg(0), "0.json": b'{"label": {}}'}, "the label is {}; expected a text"),
        ({"0.jpg": jpeg(0), "0.png": jpeg(0), "0.cls": b"1"}, "several images of the sample '0'"),
        ({"0.txt": b"x"}, "do not hold images"),
        ({"0.jpg": jpeg(0), "0.json": b"[]"}, "has no classes: no image has a label"),
        ({"0.jpg": jpeg(0), "0.cls": b"a\nb"}, "which is not printable text in one line"),
        ({"0.jpg": jpeg(0), "0.json": b'["a", ""]'}, "the name '', which is not printable"),
        ({"0.jpg": jpeg(0), "0.cls": b" "}, "the label is empty"),
    ],
)
def test_what_is_refused(files, message, write):
    """Each mistake is an error with its file, before training."""
    with pytest.raises(SourceError, match=message):
        open_source(f"webdataset:{write('a.tar', files)}", "train")


def test_what_is_left_out_is_counted(write, capsys):
    """Each kind of other member has a word of its own."""
    files = dict.fromkeys(("../1.jpg", "a/../2.jpg", ".3.jpg", "__MACOSX/4.jpg", "5.txt"), b"x")
    open_source(f"webdataset:{write('a.tar', {'0.jpg': jpeg(0), '0.cls': b'a', **files})}", "train")
    line = "ignored other files: 2 hidden, 2 with .. in the path, 1 .txt"
    assert line in capsys.readouterr().err


def test_damaged_tars(write, tmp_path):
    """A tar that is missing, compressed or cut is an error when the source is opened."""
    path = write("good.tar", {"0.jpg": jpeg(0), "0.cls": b"0"})
    with pytest.raises(SourceError, match=r"god\.tar is missing.*Did you mean 'good\.tar'"):
        open_source(f"webdataset:{tmp_path}/god.tar", "train")
    (tmp_path / "a.tar").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(SourceError, match="not an uncompressed tar"):
        open_source(f"webdataset:{tmp_path}/a.tar", "train")
    (tmp_path / "b.tar").write_bytes(path.read_bytes()[:700])
    with pytest.raises(SourceError, match="is damaged"):
        open_source(f"webdataset:{tmp_path}/b.tar", "train")
    source = open_source(f"webdataset:{path}", "train")
    path.unlink()
    with pytest.raises(UserError, match=r"good\.tar/0\.jpg in .*: No such file") as caught:
        source[0]
    assert not isinstance(caught.value, ImageError)


def test_corrupt_images(write, capsys):
    """`data.on_corrupt` decides, also when the index comes from the cache."""
    files = {"0.jpg": b"<html>404</html>", "0.cls": b"0", "1.jpg": jpeg(1), "1.cls": b"1"}
    spec = f"webdataset:{write('a.tar', files)}"
    for _ in range(2):
        with pytest.raises(ImageError, match=r"a\.tar/0\.jpg.*data\.on_corrupt=skip"):
            open_source(spec, "train")
    assert len(open_source(spec, "train", skip_corrupt=True)) == 2
    assert "1 of 2 files" in capsys.readouterr().err


def test_corrupt_images_of_another_split(shards, write, capsys):
    """A corrupt image counts in its own split, as in folders and lists."""
    write("test-0.tar", {"0.jpg": b"<html>404</html>", "0.cls": b"0"})
    assert len(open_source(shards, "train[:6]")) == 6
    with pytest.raises(ImageError, match=r"test-0\.tar/0\.jpg.*1 of 1 files"):
        open_source(shards, "test[:1]")
    open_source(shards, "train", skip_corrupt=True)
    assert "Warning" not in capsys.readouterr().err
    open_source(shards, "train+test", skip_corrupt=True)
    assert "1 of 13 files" in capsys.readouterr().err
