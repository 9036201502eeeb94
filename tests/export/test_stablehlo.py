"""StableHLO files: what a reader without netzoo needs, and damaged files."""

import re
import sys
import zipfile

import numpy as np
import pytest
from jax import export

from netzoo.errors import UserError
from netzoo.export import stablehlo
from netzoo.export.classifier import image_program
from tests.export.conftest import NAMES, PREPROCESSING
from tests.export.page import run_lines
from tests.test_native_programs import OF_EXPORT


@pytest.fixture(scope="module")
def path(predictor, tmp_path_factory):
    path = tmp_path_factory.mktemp("stablehlo") / "flowers.stablehlo"
    with open(path, "wb") as file:
        stablehlo.write(file, image_program(predictor, "reliability_small"))
    return path


@pytest.mark.slow  # another process imports JAX
def test_the_lines_of_the_page_run_with_jax_alone(path, predictor, images):
    """Protects readers of docs/export.md who do not have netzoo."""
    batch = PREPROCESSING.normalize(images.pixels)
    forbidden = {"netzoo", "flax", "tensorflow"}
    logits, printed = run_lines("export.deserialize", path.parent, batch, forbidden)
    expected = predictor.logits(list(images.pixels))
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    assert printed == str([NAMES[i] for i in expected.argmax(-1)])


def test_programs_are_for_every_platform_and_any_batch(path):
    """Protects exports to other machines."""
    with zipfile.ZipFile(path) as archive:
        program = export.deserialize(bytearray(archive.read("program")))
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert not isinstance(program.in_avals[0].shape[0], int)
    calls = set(re.findall(r"custom_call @(\w+)", program.mlir_module()))
    assert calls <= OF_EXPORT


def test_equal_networks_give_equal_files(path, predictor):
    """Protects checksums: a file has no time of writing and no names of source files."""
    assert b"classifier.py" not in path.read_bytes()
    again = path.with_name("again.stablehlo")
    with open(again, "wb") as file:
        stablehlo.write(file, image_program(predictor, "reliability_small"))
    assert again.read_bytes() == path.read_bytes()


def damaged(data):
    """Yield damaged contents of a file."""
    yield b""
    yield b"not an archive"
    yield data[: len(data) // 2]
    yield data.replace(b"metadata.json", b"metadata.jso_")
    yield data.replace(b'"class_names"', b'"class_names')
    middle = len(data) // 2  # a weight; the archive has a checksum of the program
    yield bytes([*data[:middle], data[middle] ^ 64, *data[middle + 1 :]])


def test_damaged_files_give_one_message(path, tmp_path):
    """Protects from tracebacks of other libraries."""
    for number, data in enumerate(damaged(path.read_bytes())):
        bad = tmp_path / f"{number}.stablehlo"
        bad.write_bytes(data)
        with pytest.raises(UserError, match="is damaged, or not a file of"):
            stablehlo.read(bad)
    with zipfile.ZipFile(tmp_path / "bomb.stablehlo", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("program", bytes(10_000_000))
        archive.writestr("metadata.json", "{}")
    with pytest.raises(UserError, match="larger than the file"):
        stablehlo.read(tmp_path / "bomb.stablehlo")


def test_a_missing_package_is_named_with_its_extra(path, monkeypatch):
    """Protects users who installed no extra."""
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(UserError, match=r"flatbuffers: pip install 'netzoo\[stablehlo\]'"):
        stablehlo.read(path)
