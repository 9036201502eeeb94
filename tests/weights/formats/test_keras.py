"""Keras' HDF5 files: all formats give the same names.

The tests build files with the layout of Keras 3.15 and 2.x, because files of Keras itself are too
large to keep.
"""

import json
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.weights.formats import hdf5
from netzoo.weights.formats.read import read_weights

# By layer: class, and variables in the order in which the layer creates them.
LAYERS = {
    "conv1": ("Conv2D", {"kernel": (3, 3, 3, 8)}),
    "conv1_bn": (
        "BatchNormalization",
        {"gamma": (8,), "beta": (8,), "moving_mean": (8,), "moving_variance": (8,)},
    ),
    "conv_dw_1": ("DepthwiseConv2D", {"depthwise_kernel": (3, 3, 8, 1)}),
    "conv_preds": ("Conv2D", {"kernel": (1, 1, 8, 5), "bias": (5,)}),
    "predictions": ("Dense", {"kernel": (5, 5), "bias": (5,)}),
    "dropout": ("Dropout", {}),
}
GROUPS = {
    "Conv2D": "conv2d",
    "BatchNormalization": "batch_normalization",
    "DepthwiseConv2D": "depthwise_conv2d",
    "Dense": "dense",
    "Dropout": "dropout",
}

# Prints the error of reading a file, then the peak memory of the child that read it in KiB.
READS_WITH_PEAK = """
import pathlib, resource, sys
from netzoo.errors import UserError
from netzoo.weights.formats.read import read_weights
try:
    read_weights(pathlib.Path(sys.argv[1]))
except UserError as error:
    print(str(error).replace(chr(10), " "))
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def values():
    """Return `LAYER/VARIABLE` to its array."""
    rng = np.random.default_rng(0)
    return {
        f"{layer}/{name}": rng.normal(size=shape).astype(np.float32)
        for layer, (_, variables) in LAYERS.items()
        for name, shape in variables.items()
    }


def write_keras_2(path, *, whole_model=False):
    """`model.save_weights("a.h5")`, or `model.save("a.h5")`, of Keras 2."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        root.attrs["layer_names"] = [layer.encode() for layer in LAYERS]
        for layer in LAYERS:
            root.create_group(layer)
        for name, value in values().items():
            layer = name.split("/")[0]
            root[f"{layer}/{name}:0"] = value
        root.create_group("top_level_model_weights")
        if whole_model:
            root.file.create_group("optimizer_weights/adam")["conv1/kernel:0"] = np.ones(2)


def write_keras_3_legacy(path):
    """`model.save("a.h5")` of Keras 3, which calls depthwise kernels `kernel` too."""
    layers = [{"class_name": kind, "config": {"name": name}} for name, (kind, _) in LAYERS.items()]
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"config": {"layers": layers}})
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = list(LAYERS)
        for name, value in values().items():
            layer, variable = name.split("/")
            root[f"{layer}/{layer}/{variable.removeprefix('depthwise_')}"] = value


def write_keras_3(path, *, names=True, layers="layers"):
    """`model.save_weights("a.weights.h5")` of Keras 3; before 3.6 without the layers' names."""
    found, counts = values(), {}
    with h5py.File(path, "w") as file:
        file.create_group("vars")
        for layer, (kind, variables) in LAYERS.items():
            count = counts[kind] = counts.get(kind, -1) + 1
            group = GROUPS[kind] + (f"_{count}" if count else "")
            stored = file.create_group(f"{layers}/{group}/vars")
            if names:
                stored.attrs["name"] = layer
            for index, name in enumerate(variables):
                stored[str(index)] = found[f"{layer}/{name}"]


@pytest.mark.parametrize(
    "write",
    [
        write_keras_2,
        lambda path: write_keras_2(path, whole_model=True),
        write_keras_3_legacy,
        write_keras_3,
    ],
    ids=["2", "2 whole model", "3 legacy", "3"],
)
def test_names(tmp_path, write):
    """All versions give layer and variable, and only variables of layers."""
    write(tmp_path / "a.h5")
    found, expected = read_weights(tmp_path / "a.h5"), values()
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


def test_files_without_names(tmp_path):
    """Numbers alone do not identify layers, and a wrong guess would go unnoticed."""
    write_keras_3(tmp_path / "a.weights.h5", names=False)
    with pytest.raises(UserError, match=r"before Keras 3\.6"):
        read_weights(tmp_path / "a.weights.h5")
    write_keras_3(tmp_path / "b.h5", names=False, layers="_layer_checkpoint_dependencies")
    with pytest.raises(UserError, match=r"before Keras 3\.6"):
        read_weights(tmp_path / "b.h5")


def test_other_layers(tmp_path):
    """The order of variables is known only for the layers of these networks."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("layers/einsum_dense/vars")
        group.attrs["name"] = "query"
        group["0"] = np.ones(2)
    with pytest.raises(UserError, match="einsum_dense/vars holds 1"):
        read_weights(tmp_path / "a.h5")


def test_not_keras(tmp_path):
    """The error for another program's HDF5 file lists its contents."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.ones(2)
    with pytest.raises(UserError, match="got images"):
        read_weights(tmp_path / "a.h5")


@pytest.mark.parametrize("write", [write_keras_2, write_keras_3])
def test_truncated(tmp_path, write):
    """Damaged downloads: truncated files are errors."""
    path = tmp_path / "a.h5"
    write(path)
    content = path.read_bytes()
    for share in (0, 0.5, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(UserError, match="damaged or truncated"):
            read_weights(path)


def test_links_are_not_followed(tmp_path):
    """A file from the internet cannot name another file of this machine, in any of three ways."""
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel"] = np.arange(4, dtype=np.float32)

    def external(group):
        group["kernel"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "kernel")

    def raw(group):
        group.create_dataset("kernel", (4,), np.float32, external=[(str(secret), 0, 16)])

    def virtual(group):
        layout = h5py.VirtualLayout((4,), np.float32)
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "kernel", (4,))
        group.create_virtual_dataset("kernel", layout)

    for write in (external, raw, virtual):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.attrs["layer_names"] = [b"conv"]
            write(file.create_group("conv"))
        with pytest.raises(UserError, match=r"soft or external link|another file"):
            read_weights(tmp_path / "a.h5")


def test_huge_datasets_are_refused(tmp_path):
    """HDF5 fills unwritten data with zeros: terabytes of them from a file of 2 kB."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        file.create_dataset("conv/kernel", (10**12,), np.float32, chunks=(1024,))
    with pytest.raises(UserError, match="claims to hold 4,000,000,000,000 bytes"):
        read_weights(tmp_path / "a.h5")


@pytest.mark.slow
def test_chunks_that_unpack_to_more_are_refused(tmp_path):
    """HDF5 unpacks a chunk as long as there is memory: here 1.2 GB instead of 4 kB."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        shape = {"shape": (1024,), "chunks": (1024,)}
        data = file.create_dataset("conv/kernel", dtype="f4", compression="gzip", **shape)
        packer, part = zlib.compressobj(1), bytes(1 << 24)
        packed = b"".join(packer.compress(part) for _ in range(72)) + packer.flush()
        data.id.write_direct_chunk((0,), packed)
    # Its own process reads, because the largest of all earlier children would count here.
    command = [sys.executable, "-c", READS_WITH_PEAK, str(tmp_path / "a.h5")]
    read = subprocess.run(command, capture_output=True, text=True, check=True)
    error, peak = read.stdout.splitlines()
    assert "filter returned failure" in error or "did not finish" in error
    assert int(peak) < (3 << 30) // 1024


def test_circles_are_refused(tmp_path):
    """Groups that contain themselves would be searched forever."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        group = file.create_group("conv/inner")
        group["again"] = group["once_more"] = file["conv"]
    with pytest.raises(UserError, match="has two names"):
        read_weights(tmp_path / "a.h5")


def test_text_is_not_read(tmp_path):
    """The strings of a dataset may share bytes, and need a million times their memory."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        file["conv/kernel"] = ["a" * 1000]
    with pytest.raises(UserError, match="holds object"):
        read_weights(tmp_path / "a.h5")


def test_a_file_on_which_hdf5_hangs(tmp_path, monkeypatch):
    """HDF5 loops forever on this damage, in a call that no signal handler interrupts."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("layers/dense/vars").attrs["name"] = "logits"
    data = bytearray((tmp_path / "a.h5").read_bytes())
    free = data.index(b"GCOL") + 48  # the size of the free space in the heap of strings
    data[free : free + 8] = bytes(8)
    (tmp_path / "a.h5").write_bytes(data)
    monkeypatch.setattr(hdf5, "SECONDS", 3.0)
    with pytest.raises(UserError, match=r"a\.h5.* 3 s"):
        read_weights(tmp_path / "a.h5")
