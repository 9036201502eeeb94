"""PyTorch's files: every value is right, and nothing in them is executed."""

import copy
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.weights.formats.read import read_weights
from tests.weights.pth_files import (
    dictionary,
    literal,
    named,
    program,
    tensor,
    write_state_dict,
    write_zip,
)

DATA = Path(__file__).parents[1] / "data"
# A state dict that PyTorch 2.14 saved in both of its formats. `transposed` is a view of 24 numbers
# with swapped strides, `shared` a view of some of them.
REAL = [DATA / "zip.pth", DATA / "legacy.pth"]
EXPECTED = {
    "0.weight": np.arange(24, dtype=np.float32).reshape(3, 2, 2, 2),
    "0.bias": np.arange(3, dtype=np.float32),
    "1.weight": np.arange(3, dtype=np.float32),
    "1.bias": np.arange(3, dtype=np.float32),
    "1.running_mean": np.arange(3, dtype=np.float32),
    "1.running_var": np.arange(3, dtype=np.float32),
    "1.num_batches_tracked": np.array(0),
    "transposed": np.arange(24, dtype=np.float32).reshape(4, 6).T,
    "shared": np.arange(6, 18, dtype=np.float32).reshape(3, 4),
    "parameter": np.array([1.5, -2.0], np.float32),
    "half": np.array([0.5, 1.5], np.float16),
    "bfloat16": np.array([0.5, -3.0], np.float32),
    "double": np.array([[1e-3]]),
    "scalar": np.array(7),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
}
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
FOUR_NUMBERS = {"0": np.arange(4, dtype=np.float32).tobytes()}


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_files_of_pytorch(path):
    """Dtypes, strides, offsets into shared storages and `_metadata` are those of PyTorch."""
    found = read_weights(path)
    assert list(found) == list(EXPECTED)
    for name, expected in EXPECTED.items():
        dtype = "bfloat16" if name == "bfloat16" else expected.dtype.name
        assert found[name].dtype.name == dtype
        np.testing.assert_array_equal(found[name].astype(expected.dtype), expected, strict=True)


@pytest.mark.parametrize(
    "under",
    [
        *[(name,) for name in ("state_dict", "model", "model_ema", "model_state_dict", "net")],
        (),
        ("model", "network"),
        ("of another name",),
    ],
)
def test_nested_state_dicts(tmp_path, under):
    """Training scripts store the state dict among other objects."""
    found = read_weights(write_state_dict(tmp_path / "a.pth", {"w": WEIGHT}, under=under))
    np.testing.assert_array_equal(found["w"], WEIGHT)


def test_averaged_weights_come_first(tmp_path):
    """If a file has both, its owner would evaluate the averaged weights."""
    strides = (3, 1)
    operations = dictionary(
        {
            "model": dictionary({"w": tensor("0", "FloatStorage", 6, (2, 3), strides)}),
            "model_ema": dictionary({"module.w": tensor("1", "FloatStorage", 6, (2, 3), strides)}),
        }
    )
    storages = {"0": (0 * WEIGHT).tobytes(), "1": WEIGHT.tobytes()}
    found = read_weights(write_zip(tmp_path / "a.pth", operations, storages))
    np.testing.assert_array_equal(found["module.w"], WEIGHT)


def test_several_state_dicts_without_a_known_name(tmp_path):
    """A file with a teacher and a student does not say which to load; the error names both."""
    operations = dictionary(
        {
            name: dictionary({"w": tensor("0", "FloatStorage", 4, (4,), (1,))})
            for name in ("teacher", "student")
        }
    )
    with pytest.raises(UserError, match=r"no state dict.* teacher, student"):
        read_weights(write_zip(tmp_path / "a.pth", operations, FOUR_NUMBERS))


def training_checkpoint() -> bytes:
    """The other contents of checkpoints of timm and torchvision, as `torch.save` writes them."""
    weights = dictionary({"w": tensor("0", "FloatStorage", 4, (4,), (1,))})
    state = dictionary(
        {"lr": literal(0.1), "path": named("pathlib", "PosixPath") + literal(("a",)) + b"R"}
    )
    namespace = named("argparse", "Namespace") + b")\x81" + state + b"b"
    dtype = named("numpy", "dtype") + literal(("f8", False, True)) + b"R" + literal((3, "<")) + b"b"
    encoded = named("_codecs", "encode") + literal(("x", "latin1")) + b"R"
    scalar = named("numpy.core.multiarray", "scalar") + b"(" + dtype + encoded + b"tR"
    factory = named("builtins", "dict") + b"\x85R"
    buffers = named("collections", "defaultdict") + factory + literal(0) + literal({}) + b"s"
    buffers += literal(None) + literal(1) + b"s"  # keys that are not names are left out
    aliases = named("torch", "device") + literal(("cuda", 0)) + b"R"
    losses = b"\x8f(" + literal(1) + b"\x90"
    complex_buffer = tensor("0", "Complex32Storage", 4, (4,), (1,))
    others = {
        "epoch": literal(3), "args": namespace, "metric": scalar, "best_acc1": weights_of("1"),
        "state": buffers, "device": aliases, "seen": losses, "odd": complex_buffer,
        "optimizer": dictionary({"state": dictionary({"momentum": weights_of("1")})}),
    }  # fmt: skip
    return dictionary({**others, "state_dict": weights})


def weights_of(key: str) -> bytes:
    return tensor(key, "FloatStorage", 4, (4,), (1,))


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_stands_beside_a_state_dict_is_left_alone(tmp_path, protocol):
    """Flags, NumPy scalars and optimizers get names, but are neither imported nor created."""
    storages = {**FOUR_NUMBERS, "1": bytes(16)}
    path = write_zip(tmp_path / "a.ckpt", training_checkpoint(), storages)
    if protocol == 4:
        body = b"\x80\x04" + training_checkpoint() + b"."
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", body)
            for key, content in storages.items():
                archive.writestr(f"archive/data/{key}", content)
    found = read_weights(path)
    assert list(found) == ["w"]
    np.testing.assert_array_equal(found["w"], [0, 1, 2, 3])


def test_nothing_else_among_the_tensors(tmp_path):
    """A state dict with another object among its tensors is refused, and the error names it."""
    system = named("posix", "system") + literal("true") + b"\x85R"
    operations = dictionary({"w": weights_of("0"), "v": system})
    with pytest.raises(UserError, match=r"posix\.system as v; nothing was executed"):
        read_weights(write_zip(tmp_path / "a.pth", operations, FOUR_NUMBERS))


def test_a_dictionary_that_holds_itself(tmp_path):
    """The search for tensors ends."""
    operations = b"}q\x05" + literal("model") + b"h\x05s"
    with pytest.raises(UserError, match="no state dict"):
        read_weights(write_zip(tmp_path / "a.pth", operations, FOUR_NUMBERS))


def test_byte_order(tmp_path):
    """Files from machines with the other byte order have the right values."""
    found = read_weights(write_state_dict(tmp_path / "a.pth", {"w": WEIGHT}, order="big"))
    np.testing.assert_array_equal(found["w"], WEIGHT)


@pytest.mark.parametrize(
    ("count", "shape", "strides", "offset"),
    [
        (4, (5,), (1,), 0),
        (4, (4,), (1,), 1),
        (4, (2, 2), (3, 1), 0),
        (4, (2,), (-1,), 1),
        (4, (-2,), (1,), 0),
        (4, (2,), (1,), -1),
        (4, (2, 2), (1,), 0),
        (4, (10**12,), (10**9,), 0),
    ],
)
def test_tensors_stay_in_their_storage(tmp_path, count, shape, strides, offset):
    """A shape that reaches beyond its storage would read the memory of this process."""
    operations = dictionary({"w": tensor("0", "FloatStorage", count, shape, strides, offset)})
    with pytest.raises(UserError, match="damaged"):
        read_weights(write_zip(tmp_path / "a.pth", operations, FOUR_NUMBERS))


def attacks(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Pickles that create a file `marker` when executed, and names that the errors contain."""
    command = f"touch {marker}"
    system, text = named("posix", "system"), literal(command)
    ordered = named("collections", "OrderedDict")
    short = bytes([0x8C, len(command)]) + command.encode()
    return {
        "reduce": (system + text + b"\x85R", "posix.system"),
        "in a state dict": (dictionary({"w": system + text + b"\x85R"}), "posix.system"),
        "by stack": (b"\x8c\x05posix\x8c\x06system\x93" + short + b"\x85R", "posix.system"),
        "instance": (b"(" + text + b"iposix\nsystem\n", "posix system"),
        "object": (b"(" + system + text + b"o", "posix.system"),
        "new object": (named("builtins", "exec") + text + b"\x85\x81", "builtins.exec"),
        "attribute": (ordered + b")R" + dictionary({"x": system}) + b"b", "posix.system"),
        "extension": (b"\x82\x01", "EXT1"),
        "whole model": (named("torchvision.models.resnet", "ResNet") + b")\x81", "resnet.ResNet"),
        "new of an allowed class": (ordered + b")\x81", "NEWOBJ"),
        "persistent text": (b"Pposix.system\n", "PERSID"),
        "persistent module": (b"(" + literal("module") + literal(command) + b"tQ", "not a tensor"),
    }


@pytest.mark.parametrize("name", attacks(Path("x")))
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_nothing_is_run(tmp_path, name, form):
    """A file from the internet is data: its objects are refused by name and never called."""
    marker, path = tmp_path / "marker", tmp_path / "attack.pth"
    operations, offence = attacks(marker)[name]
    if form == "zip":
        write_zip(path, operations, FOUR_NUMBERS)
    else:
        path.write_bytes(program(operations))
    with pytest.raises(UserError, match=offence):
        read_weights(path)
    assert not marker.exists()


def test_the_attack_is_one(tmp_path):
    """Python's own unpickler executes the attack; otherwise, the test above would prove nothing."""
    pickle.loads(program(attacks(tmp_path / "marker")["reduce"][0]))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_truncated(tmp_path, path):
    """A file truncated at any place is an error."""
    content, cut = path.read_bytes(), tmp_path / "cut.pth"
    for length in range(0, len(content), 61):
        cut.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"cut\.pth"):
            read_weights(cut)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_damaged(tmp_path, path):
    """Any wrong byte is either harmless or a `UserError`, never a crash."""
    rng = np.random.default_rng(0)
    content, damaged = path.read_bytes(), tmp_path / "damaged.pth"
    refused = 0
    for place in rng.choice(len(content), 300, replace=False):
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        damaged.write_bytes(changed)
        try:
            read_weights(damaged)
        except UserError:
            refused += 1
    assert refused > 50


def test_compressed_archive(tmp_path):
    """PyTorch never compresses, and a small compressed file may exceed the memory."""
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", program(dictionary({})))
    with pytest.raises(UserError, match="compressed"):
        read_weights(path)


def test_no_state_dict(tmp_path):
    """The error for other contents describes them."""
    path = write_zip(tmp_path / "a.pth", dictionary({"optimizer": literal({}), "epoch": b"N"}), {})
    with pytest.raises(UserError, match="got optimizer, epoch"):
        read_weights(path)


@pytest.mark.parametrize("content", [pickle.dumps({"w": [1.0]}, 2), b"", b"<html>not found</html>"])
def test_not_pytorch(tmp_path, content):
    """A bare pickle, an empty file and an HTML error page are errors."""
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.pth"):
        read_weights(path)


def test_repeated_numbers_are_bounded(tmp_path):
    """A copy of a tensor with stride 0 repeats a number as often as the shape says."""
    for count, refused in ((10**6, False), (10**9, True)):
        operations = dictionary({"w": tensor("0", "FloatStorage", 4, (count,), (0,))})
        path = write_zip(tmp_path / "a.pth", operations, FOUR_NUMBERS)
        if refused:
            with pytest.raises(UserError, match="claims to hold 4,000,000,000 bytes"):
                read_weights(path)
        else:
            assert read_weights(path)["w"].shape == (count,)


def test_members_that_share_their_bytes(tmp_path):
    """Each member would need its own memory: 400 times 1 MiB from a file of 1 MiB."""
    path = write_zip(tmp_path / "a.pth", dictionary({}), {"0": bytes(1 << 20)})
    with zipfile.ZipFile(path, "a") as archive:
        entry = archive.getinfo("archive/data/0")
        for index in range(1, 400):
            archive.filelist.append(copy.copy(entry))
            archive.filelist[-1].filename = f"archive/data/{index}"
        archive._didModify = True
    with pytest.raises(UserError, match="claims to hold 41"):
        read_weights(path)


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        # A list of 1000 pairs, converted to a dictionary many times.
        (
            b"("
            + named("collections", "OrderedDict")
            + b"](" + 1000 * (literal("k") + literal(1) + b"\x86") + b"e\x85q\x05R"
            + 1100 * (named("collections", "OrderedDict") + b"h\x05R")
            + b"t",
            "more than 1,048,576 pairs",
        ),
        # A list of 1000 numbers, too long for a pair, used as each of 1000 pairs.
        (
            b"](" + 1000 * literal(1) + b"eq\x05" + named("collections", "OrderedDict")
            + b"](" + 1000 * b"h\x05" + b"e\x85R",
            "damaged",
        ),
        # A list of 1000 arguments.
        (
            named("torch._utils", "_rebuild_parameter") + b"(" + 1000 * literal(1) + b"tR",
            "more than 8 arguments",
        ),
        # The hash takes twice the time for each nested tuple.
        (b"}" + literal(1) + b"\x85" + 100 * b"q\x05h\x05\x86" + literal(1) + b"s", "nor integers"),
        (tensor("0", "FloatStorage", 4, (1,) * 65, (1,) * 65), "more than 64 axes"),
    ],
    ids=["dictionaries", "pairs", "arguments", "keys", "axes"],
)  # fmt: skip
def test_calls_are_bounded(tmp_path, operations, message):
    """A few bytes that reuse a long list must not take memory or time for the whole list."""
    with pytest.raises(UserError, match=message):
        read_weights(write_zip(tmp_path / "a.pth", operations, FOUR_NUMBERS))


def test_a_large_index_of_the_memo_takes_no_memory(tmp_path):
    """Python's unpickler would allocate a list of that many entries, 32 GiB."""
    operations = dictionary(
        {"w": tensor("0", "FloatStorage", 4, (4,), (1,)) + b"r\xff\xff\xff\xff"}
    )
    found = read_weights(write_zip(tmp_path / "a.pth", operations, FOUR_NUMBERS))
    assert found["w"].shape == (4,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (literal([1, 2]), "damaged"),  # not keys of storages
        (dictionary({"w": tensor("0", "FloatStorage", 0, (0, 10**30), (1, 1))}), "damaged"),
        (dictionary({"w": tensor("0", "FloatStorage", 4, (10**30,), (0,))}), "damaged"),
    ],
)
def test_numbers_that_are_too_large(tmp_path, content, message):
    """NumPy's error for an impossible size is reported as damage."""
    with pytest.raises(UserError, match=f"{message}|no state dict"):
        read_weights(write_zip(tmp_path / "a.pth", content, FOUR_NUMBERS))
