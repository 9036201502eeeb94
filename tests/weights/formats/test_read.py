"""The other formats than PyTorch's and Keras': values, and one clear error per bad file."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from netzoo import limits
from netzoo.errors import UserError
from netzoo.weights.formats.read import READERS, read_metadata, read_weights
from tests.weights.pth_files import write_state_dict

DATA = Path(__file__).parents[1] / "data"
ARRAYS = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float16)}


class Attack:
    """Creates a file when Python unpickles it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def assert_arrays(found, expected=ARRAYS):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


def test_safetensors(tmp_path):
    """A file gives its tensors and its text metadata."""
    save_file(ARRAYS, tmp_path / "a.safetensors", {"model": "resnet50"})
    assert_arrays(read_weights(tmp_path / "a.safetensors"))
    assert read_metadata(tmp_path / "a.safetensors") == {"model": "resnet50"}


def test_safetensors_in_bfloat16(tmp_path):
    """A dtype that NumPy itself lacks is read."""
    values = np.array([0.5, -3.0], ml_dtypes.bfloat16)
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + values.tobytes())
    np.testing.assert_array_equal(read_weights(path)["w"].astype(np.float32), [0.5, -3.0])


@pytest.mark.parametrize("prefix", ["", "params/", "opt/target/"])
def test_npz(tmp_path, prefix):
    """Google's programs save parameters with or without the optimizer state."""
    others = {"opt/state/step": np.array(3)} if prefix else {}
    named = {f"{prefix}{name}": value for name, value in ARRAYS.items()}
    np.savez(tmp_path / "a.npz", **named, **others)
    assert_arrays(read_weights(tmp_path / "a.npz"))


@pytest.mark.parametrize("compressed", [False, True])
def test_objects_in_npz_are_refused(tmp_path, compressed):
    """NumPy stores objects as pickles, which run code; `allow_pickle` would run this one."""
    marker, path = tmp_path / "marker", tmp_path / "a.npz"
    save = np.savez_compressed if compressed else np.savez
    save(path, fine=np.ones(2), bad=np.array([Attack(marker)], dtype=object))
    with pytest.raises(UserError, match="Python objects"):
        read_weights(path)
    assert not marker.exists()
    np.load(path, allow_pickle=True)["bad"]
    assert marker.exists()


def test_pickle_named_npz(tmp_path):
    """A suffix never causes unpickling."""
    marker, path = tmp_path / "marker", tmp_path / "a.npz"
    path.write_bytes(pickle.dumps(Attack(marker)))
    with pytest.raises(UserError, match=r"a\.npz"):
        read_weights(path)
    assert not marker.exists()


def test_text_is_no_tensor(tmp_path):
    """The error names an array that cannot be a weight."""
    np.savez(tmp_path / "a.npz", labels=np.array(["daisy"]))
    with pytest.raises(UserError, match="labels holds <U5"):
        read_weights(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_truncated_or_empty(tmp_path, suffix):
    """Truncated and empty files are errors."""
    path = tmp_path / f"a{suffix}"
    save_file(ARRAYS, path) if suffix == ".safetensors" else np.savez(path, **ARRAYS)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="damaged or truncated"):
            read_weights(path)


@pytest.mark.parametrize("name", ["weights.ckpt", "weights", "weights.pkl"])
def test_unknown_format(tmp_path, name):
    """The error lists the readable formats."""
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"no known format; expected one of \.safetensors, PyTorch"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["weights", "weights.ckpt", "weights.pth", "weights.npz"])
def test_the_content_says_the_format(tmp_path, name):
    """Downloads lose their suffixes, and programs choose others."""
    save_file(ARRAYS, tmp_path / name)
    assert_arrays(read_weights(tmp_path / name))
    with (tmp_path / name).open("wb") as file:
        np.savez(file, **ARRAYS)
    assert_arrays(read_weights(tmp_path / name))
    write_state_dict(tmp_path / name, ARRAYS)
    assert_arrays(read_weights(tmp_path / name))
    (tmp_path / name).write_bytes((DATA / "legacy.pth").read_bytes())
    assert "0.weight" in read_weights(tmp_path / name)
    with h5py.File(tmp_path / name, "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        file["conv/kernel"] = np.ones(2)
    assert list(read_weights(tmp_path / name)) == ["conv/kernel"]


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_an_index_of_several_files(tmp_path, suffix):
    """Hugging Face's libraries split large files; the index names the file of each tensor."""
    save = (
        save_file
        if suffix == "safetensors"
        else lambda arrays, path: write_state_dict(path, arrays)
    )
    weight_map = {}
    for number, (name, array) in enumerate(ARRAYS.items()):
        weight_map[name] = f"model-{number}-of-2.{suffix}"
        save({name: array}, tmp_path / weight_map[name])
    index = tmp_path / f"model.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert_arrays(read_weights(index))


@pytest.mark.parametrize(
    "content",
    [
        '{"weight_map": {"w": "../secret.safetensors"}}',
        '{"weight_map": {"w": "/etc/passwd"}}',
        '{"weight_map": {"w": "a.index.json"}}',
        '{"weight_map": {"w": 3}}',
        '{"weight_map": []}',
        '{"weights": {}}',
        "[" * 100_000,
    ],
)
def test_an_index_names_files_beside_it_alone(tmp_path, content):
    """A file from the internet cannot name another file of this machine."""
    (tmp_path / "a.index.json").write_text(content)
    with pytest.raises(UserError, match="is not an index of weight files"):
        read_weights(tmp_path / "a.index.json")


@pytest.mark.parametrize("suffix", READERS)
def test_something_else_under_a_known_suffix(tmp_path, suffix):
    """An HTML error page saved under the name of the file is an error."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match="a" + suffix.replace(".", r"\.")):
        read_weights(path)


def test_bombs_in_npz_are_refused(tmp_path, monkeypatch):
    """Zeros compress a thousandfold; the file is refused before allocating memory."""
    monkeypatch.setattr(limits, "ALWAYS_ALLOWED", 1 << 20)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", bytes(3 << 20))
    with pytest.raises(UserError, match=r"claims to hold 3,145,728 bytes"):
        read_weights(tmp_path / "a.npz")


def test_a_plain_array_named_npz(tmp_path):
    """A single array has no names and is an error, although NumPy reads it."""
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(UserError, match="archive of arrays"):
        read_weights(tmp_path / "a.npz")


def test_a_member_that_is_no_array(tmp_path):
    """A text file in the archive is an error."""
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "Hello.")
    with pytest.raises(UserError, match=r"readme\.txt is not an array"):
        read_weights(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".npz", ".h5"])
def test_a_folder_is_an_error(tmp_path, suffix):
    """A folder is an error for every reader, also for those that open files themselves."""
    (tmp_path / f"a{suffix}").mkdir()
    with pytest.raises(UserError, match="a" + suffix.replace(".", r"\.")):
        read_weights(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_names_from_a_file_are_escaped(tmp_path, suffix):
    """A name from the internet reaches the terminal as text, not as control sequences."""
    path, name = tmp_path / f"a{suffix}", "w\x1b[31m"
    if suffix == ".npz":
        np.savez(path, **{name: np.array(["daisy"])})
    else:
        header = json.dumps({name: {"dtype": "NO", "shape": [1], "data_offsets": [0, 4]}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(UserError) as error:
        read_weights(path)
    assert str(error.value).isprintable()


def test_a_header_as_long_as_a_pickle_begins(tmp_path):
    """Protects one .safetensors file in 32: its length of 0x280 reads as a pickle's first bytes."""
    path = tmp_path / "a.safetensors"
    tensors = {"x": np.ones(2, np.float32)}
    for letters in range(0x280):
        save_file(tensors, path, metadata={"note": "a" * letters})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    np.testing.assert_array_equal(read_weights(path)["x"], tensors["x"])
    assert letters < 0x27F
