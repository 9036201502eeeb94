"""TFDS data sets in tfrecord files, which netzoo reads at random without TensorFlow."""

import json
import shutil
import struct
from pathlib import Path

import pytest

from netzoo.cli.prepare import prepare
from netzoo.data import ImageError, open_source
from netzoo.data.source import SourceError
from netzoo.data.sources import tfds, tfrecord
from netzoo.data.sources.tfrecord import TfRecords, masked_checksum

WRITTEN = (
    "06000000000000007369d5376e65747a6f6f5957e8c4"  # length, checksum, `netzoo`, checksum
    "000000000000000029039807d8ea82a2"
)


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    sums = (struct.pack("<I", masked_checksum(part)) for part in (length, data))
    return length + next(sums) + data + next(sums)


def test_bytes_of_tensorflow(tmp_path):
    """`tf.io.TFRecordWriter` of TensorFlow 2.21 writes this for `netzoo` and an empty record."""
    written = bytes.fromhex(WRITTEN)
    assert written == record(b"netzoo") + record(b"")
    (tmp_path / "a").write_bytes(written)
    assert [*TfRecords([([tmp_path / "a"], [2], range(2))])] == [b"netzoo", b""]


@pytest.fixture
def shards(tmp_path):
    """Two files of five and four records, `0` to `8`."""
    for name, numbers in {"a": range(5), "b": range(5, 9)}.items():
        (tmp_path / name).write_bytes(b"".join(record(str(n).encode()) for n in numbers))
    return [tmp_path / "a", tmp_path / "b"]


@pytest.mark.parametrize(
    "chosen", [[range(9)], [range(3, 7)], [range(5, 9)], [range(8, 9), range(2)], [range(4, 5)]]
)
def test_slices_over_files(chosen, shards):
    """A slice may begin and end within files, and slices may be joined."""
    records = TfRecords([(shards, [5, 4], part) for part in chosen])
    expected = [str(number).encode() for part in chosen for number in part]
    assert [records[index] for index in range(len(records))] == expected


@pytest.mark.parametrize("place", [0, 8, 12, 13])
def test_a_flipped_bit(place, shards):
    """Damage to a length is found when a file is opened, and to data when a record is read."""
    content = bytearray(shards[0].read_bytes())
    content[place] ^= 1
    shards[0].write_bytes(content)
    if place < 12:
        with pytest.raises(SourceError, match="a is damaged or compressed at byte 0"):
            TfRecords([(shards, [5, 4], range(9))])
    else:
        records = TfRecords([(shards, [5, 4], range(9))])
        with pytest.raises(ValueError, match="its data do not have the checksum in a"):
            records[0]
        assert records[1] == b"1"


def test_files_that_do_not_fit(shards):
    """A file that is cut, missing or of another data set is an error before training."""
    parts = [(shards, [5, 3], range(8))]
    with pytest.raises(SourceError, match=r"b has 4 records; expected 3"):
        TfRecords(parts)
    shards[1].write_bytes(shards[1].read_bytes()[:-2])
    with pytest.raises(SourceError, match=r"b is damaged or compressed at byte 51"):
        TfRecords(parts)
    shards[1].unlink()
    with pytest.raises(SourceError, match=r"Cannot read .*b: No such file"):
        TfRecords(parts)


@pytest.fixture
def both(flowers, tmp_path):
    """The same data set in both formats: the folders of array_record and of tfrecord."""
    builder = prepare("tf_flowers", str(flowers), str(tmp_path / "array_record"))
    source, target = Path(builder.data_dir), tmp_path / "tfrecord" / "tf_flowers" / "3.0.1"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*array_record*"))
    info = json.loads((target / "dataset_info.json").read_text())
    [split] = info["splits"]
    info |= {"fileFormat": "tfrecord", "splits": [{**split, "shardLengths": ["12", "8"]}]}
    (target / "dataset_info.json").write_text(json.dumps(info))
    raw = tfds.tfds.decode.DeserializeMethod.RAW_BYTES
    records = [*tfds.open_split(builder, "train", deserialize_method=raw)]
    for number, part in enumerate((records[:12], records[12:])):
        file = target / f"tf_flowers-train.tfrecord-{number:05}-of-00002"
        file.write_bytes(b"".join(map(record, part)))
    return str(tmp_path / "array_record"), str(tmp_path / "tfrecord")


def test_both_formats_have_the_same_examples(both):
    """Examples, names and order are equal, so a run may continue with the other format."""
    for split in ("train", "train[25%:75%]", "train[18:]+train[:2]"):
        first, second = (open_source("tfds:tf_flowers", split, folder) for folder in both)
        assert len(first) == len(second) > 0 and first.class_names == second.class_names
        assert first.names == second.names
        assert [first[i] for i in range(len(first))] == [second[i] for i in range(len(second))]
    with pytest.raises(SourceError, match="Available: 'train'"):
        open_source("tfds:tf_flowers", "test", both[1])


def test_a_damaged_example(both):
    """`data.on_corrupt` decides about a damaged record; a missing file always stops the run."""
    source = open_source("tfds:tf_flowers", "train", both[1])
    file = next(Path(both[1]).rglob("*.tfrecord-00001-of-00002"))
    content = bytearray(file.read_bytes())
    content[50] ^= 1
    file.write_bytes(content)
    with pytest.raises(ImageError, match=r"tf_flowers train example 12: .*checksum in tf_flowers"):
        source[12]
    file.unlink()
    with pytest.raises(SourceError, match=r"Cannot read .*No such file") as caught:
        source[12]
    assert not isinstance(caught.value, ImageError)


def test_the_lengths_are_read_once(both, monkeypatch):
    """Protects the start of a run, whose three splits are slices of the same files."""
    open_source("tfds:tf_flowers", "train[:80%]", both[1])
    monkeypatch.setattr(tfrecord, "open_regular", lambda *_: pytest.fail("read again"))
    assert len(open_source("tfds:tf_flowers", "train[50%:]", both[1])) == 10
