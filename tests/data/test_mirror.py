"""Copies of data in a bucket, which sources read like any folder."""

import io
import shutil

import pytest

from netzoo import buckets
from netzoo.buckets import BucketError
from netzoo.cache import CACHE_VARIABLE
from netzoo.config import default_config
from netzoo.config.table import validate
from netzoo.data import mirror, open_source
from netzoo.data.mirror import local_folder
from netzoo.data.source import SourceError
from netzoo.data.sources.open import split_sizes
from netzoo.data.sources.synthetic import builder
from netzoo.data.sources.tfds import TfdsSource, open_builder
from reliability.emulator import Fault


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder; each use of an address looks into the bucket again."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(mirror, "_mirror", mirror._mirror.__wrapped__)
    return tmp_path / "cache"


def upload(folder, bucket):
    """Copy the files of a folder into one of the bucket."""
    for path in folder.rglob("*"):
        if path.is_file():
            (bucket / path.relative_to(folder).as_posix()).write_bytes(path.read_bytes())


def files(folder):
    """The contents of all files below a folder, by name."""
    below = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in below}


def test_photographs_in_a_bucket_are_those_on_the_disk(pictures, bucket, capsys):
    """Protects the order and the pixels: a run may move from a disk to a bucket."""
    upload(pictures, bucket)
    ours, theirs = (open_source(f"folder:{place}", "train") for place in (bucket, pictures))
    assert ours.names == theirs.names and ours.class_names == theirs.class_names
    assert len(ours) == len(theirs) > 0
    assert all(ours[i]["image"] == theirs[i]["image"] for i in range(len(ours)))
    assert ours.name == f"folder:{bucket}"
    assert f"objects of {bucket}" in capsys.readouterr().err
    sizes = {name: count() for name, count in split_sizes(f"folder:{bucket}").items()}
    assert sizes == {name: count() for name, count in split_sizes(f"folder:{pictures}").items()}


def test_only_what_has_changed_is_copied(bucket, emulator, tmp_path):
    """Protects later runs from copying everything again, and from files that are gone."""
    for name, text in {"a/1.txt": "one", "a/2.txt": "two", "b/3.txt": "three"}.items():
        (bucket / name).write_text(text)
    folder = local_folder(str(bucket))
    assert files(folder) == {"a/1.txt": b"one", "a/2.txt": b"two", "b/3.txt": b"three"}
    (bucket / "a/2.txt").write_text("TWO")
    (bucket / "b/3.txt").unlink()
    (folder / "a" / "1.txt").write_text("ours")  # its object has not changed
    before = emulator.count("alt=media")
    assert local_folder(f"{bucket}/") == folder
    assert files(folder) == {"a/1.txt": b"ours", "a/2.txt": b"TWO"}
    assert emulator.count("alt=media") == before + 1
    assert not (folder / "b").exists()  # a class without images would be an error


def test_a_copy_that_fails_continues(bucket, emulator):
    """Protects large data sets: what was copied before the error is not copied again."""
    for number in range(5):
        (bucket / f"{number}.txt").write_text(f"{number}")
    with (
        emulator.failing(Fault("alt=media.*|media.*2.txt", 99, status=403)),
        pytest.raises(BucketError, match="no permission"),
    ):
        local_folder(str(bucket))
    before = emulator.count("2.txt.*alt=media")
    folder = local_folder(str(bucket))
    assert files(folder) == {f"{number}.txt": str(number).encode() for number in range(5)}
    assert emulator.count("2.txt.*alt=media") == before + 1


@pytest.mark.slow  # gcsfs waits before it repeats a request
@pytest.mark.parametrize("fault", [{"status": 503}, {"cut": True}])
def test_a_copy_outlasts_faults(bucket, emulator, fault):
    """Protects long copies from single answers that fail."""
    for number in range(5):
        (bucket / f"{number}.txt").write_text(f"{number}")
    with emulator.failing(Fault("alt=media", 2, after=1, **fault)):
        folder = local_folder(str(bucket))
    assert files(folder) == {f"{number}.txt": str(number).encode() for number in range(5)}


def test_large_objects_are_copied_in_parts(bucket, emulator, monkeypatch):
    """Protects the memory; the parts of an object that has become shorter are an error."""
    monkeypatch.setattr(buckets, "_CHUNK", 4)
    (bucket / "a.txt").write_text("0123456789")
    before = emulator.count("alt=media")
    assert files(local_folder(str(bucket))) == {"a.txt": b"0123456789"}
    assert emulator.count("alt=media") == before + 3
    with pytest.raises(BucketError, match="has changed while it was copied"):
        buckets.copy_object(bucket / "a.txt", 11, io.BytesIO())


def test_a_data_set_of_tfds_in_a_bucket(bucket, tmp_path, monkeypatch):
    """Protects array_record's reader, which needs files: only this data set is copied."""
    monkeypatch.setattr(builder, "SPLIT_SIZES", {"train": 10, "test": 5})
    builder.prepare(str(tmp_path))
    shutil.copytree(tmp_path / "synthetic_flowers", tmp_path / "prepared")
    upload(tmp_path / "prepared", bucket / "synthetic_flowers")
    (bucket / "other" / "1.0.0" / "data").write_text("x")
    ours = TfdsSource(open_builder("synthetic_flowers", str(bucket)), "train")
    theirs = open_source("tfds:synthetic_flowers", "train", str(tmp_path))
    assert len(ours) == len(theirs) == 10
    assert all(ours[i]["image"] == theirs[i]["image"] for i in range(10))
    assert not list((tmp_path / "cache").rglob("other"))
    with pytest.raises(SourceError, match="tf_flowers holds no objects"):
        open_source("tfds:tf_flowers", "train", str(bucket))
    config = default_config()
    config.data.data_dir = str(bucket)
    validate(config, training=True)


def test_what_has_no_place_on_the_disk(bucket, monkeypatch):
    """Protects the disk: no name of a stranger leads elsewhere, and the disk does not fill up."""
    (bucket / "a.txt").write_text("x")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(SourceError, match=r"room for 0\.0 GB; set NETZOO_CACHE"):
        local_folder(str(bucket))
    for names in (["a/../../b"], ["a//b"], ["a", "a/b"], ["a/./b"]):
        with pytest.raises(SourceError, match="has no place in a folder"):
            mirror._check_names(bucket, names)
    mirror._check_names(bucket, ["a/b", "a/c", "b"])
