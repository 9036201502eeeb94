"""LiteRT files: precisions, metadata and damage. TensorFlow writes them."""

import zipfile

import jax
import numpy as np
import pytest

from netzoo.cli import export as command
from netzoo.errors import UserError
from netzoo.export import litert
from netzoo.export.classifier import FileClassifier
from netzoo.export.program import Program
from netzoo.export.write import export_classifier
from tests.export.conftest import NAMES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def paths(predictor, images, tmp_path_factory):
    """The small classifier in every precision."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("ai_edge_litert")
    folder, paths = tmp_path_factory.mktemp("litert"), {}
    for precision in litert.PRECISIONS:
        paths[precision] = folder / f"{precision}.tflite"
        calibration = images.pixels if precision == "int8" else None
        options = {"precision": precision, "calibration": calibration}
        export_classifier(predictor, "small", paths[precision], "litert", images, **options)
    return paths


def test_lower_precisions_are_smaller_and_less_exact(paths, predictor, images):
    """float16 halves the weights, int8 quarters them, and the classes stay the same."""
    expected = predictor.logits(list(images.pixels))
    sizes = [path.stat().st_size for path in paths.values()]
    assert sizes[1] < 0.55 * sizes[0] and sizes[2] < 0.6 * sizes[1]
    errors = []
    for path in paths.values():
        found = FileClassifier(path).logits(images.pixels)
        errors.append(np.abs(found - expected).max() / np.abs(expected).max())
    # LiteRT adds the 16,384 terms of a logit in another order.
    assert errors[0] < 1e-5 < errors[1] < 2e-3 < errors[2] < 0.1


def test_files_hold_their_labels(paths):
    """`unzip` reads the labels."""
    with zipfile.ZipFile(paths["int8"]) as archive:
        assert archive.read("labels.txt").decode().split() == [*NAMES]


def test_damaged_files_give_one_message(paths, tmp_path):
    """Protects from tracebacks of LiteRT."""
    data = paths["float32"].read_bytes()
    middle = len(data) // 2  # a weight
    flipped = bytes([*data[:middle], data[middle] ^ 64, *data[middle + 1 :]])
    for number, bad in enumerate((b"", b"no", data[:middle], data[-600:], flipped)):
        (tmp_path / f"{number}.tflite").write_bytes(bad)
        with pytest.raises(UserError, match="is damaged, or not a file of"):
            litert.read(tmp_path / f"{number}.tflite")


def test_a_whole_file_is_not_called_damaged(tmp_path):
    """Protects users of int8 ResNets: their file is right, and the runtime cannot run it."""
    pytest.importorskip("ai_edge_litert")
    program = Program(lambda x: (x,), {}, (), {"class_names": ["a"]})
    path = tmp_path / "a.tflite"
    path.write_bytes(b"model" + litert._archive(program, b"model"))
    with pytest.raises(UserError, match=r"a\.tflite is whole, but LiteRT [\d.]+ cannot run its"):
        litert.read(path)


@pytest.mark.parametrize("exact", [True, False])
def test_int8_refuses_exact_gelu(exact):
    """Protects from a file with which LiteRT aborts the process, also inside a loop."""

    def network(x):
        step = jax.jit(lambda x, _: (jax.nn.gelu(x, approximate=not exact), None))
        return jax.lax.scan(step, x, None, length=2)[0]

    traced = jax.make_jaxpr(network)(np.ones(2, np.float32))
    if exact:
        with pytest.raises(UserError, match="int8 is not possible for a network with exact GELU"):
            litert._check_int8(traced.jaxpr)
    else:
        litert._check_int8(traced.jaxpr)


def test_precisions_belong_to_litert(tmp_path):
    """Other formats refuse --precision instead of ignoring it."""
    arguments = ["--weights", "x", "--format", "onnx", "--out", str(tmp_path / "x.onnx")]
    with pytest.raises(UserError, match="--precision is for --format litert"):
        command.main([*arguments, "--precision", "int8"])
