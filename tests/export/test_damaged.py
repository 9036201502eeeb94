"""Exported files from a stranger: hostile metadata, and programs that do not fit them."""

import copy
from pathlib import Path

import numpy as np
import pytest

from netzoo.config import default_config
from netzoo.errors import UserError
from netzoo.export import classifier
from netzoo.export.classifier import FileClassifier
from netzoo.export.evaluate import evaluate_file
from netzoo.export.program import LoadedProgram
from tests.export.conftest import NAMES, PREPROCESSING

METADATA = {
    "model": "mobilenet_v2",
    "input": "float32",
    "output": "logits",
    "preprocessing": {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in PREPROCESSING._asdict().items()
    },
    "class_names": list(NAMES),
    "temperature": 1.0,
}
IMAGES = np.zeros((2, 32, 32, 3), np.uint8)


def logits(images):
    """A program: the mean colour of each image."""
    return [images.mean((1, 2)).astype(np.float32)]


@pytest.fixture
def read(monkeypatch):
    """Return a function that reads a file with this program and changed metadata."""

    def read(program=logits, **changed):
        metadata = copy.deepcopy(METADATA)
        for name, value in changed.items():
            inside = metadata["preprocessing"]
            (inside if name in inside else metadata)[name] = value
        monkeypatch.setattr(
            classifier, "read_program", lambda path: LoadedProgram(program, metadata)
        )
        return FileClassifier(Path("a.onnx"))

    return read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("crop_size", size) for size in (0, -1, 10**9, 10**400)),
        *(("resize_size", size) for size in (0, -36, 8, 10**12, 10**400)),
        ("interpolation", "lanczos\x1b[31m"),
        *(("mean", [value, 0, 0]) for value in (float("nan"), 1e308, 10**400)),
        *(("std", [value, 1, 1]) for value in (0, -1, 1e-320, 10**400)),
        *(("temperature", value) for value in (0, -1, 1e-300, 10**400)),
        ("class_names", []),
        ("output", "classes"),
    ],
)
def test_metadata_out_of_range_are_one_error(read, name, value):
    """The message names the file and the value, before any image is read."""
    with pytest.raises(UserError, match=f"^a.onnx does not describe .*{name[:6]}") as error:
        read(**{name: value})
    assert str(error.value).isprintable() and len(str(error.value)) < 300
    assert read().class_names == NAMES


def fails(images):
    """A program for other images."""
    raise ValueError("expected (b, 96, 96, 3)\nand called with (2, 32, 32, 3)")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (fails, r"a.onnx does not run on images float32 \[2, 32, 32, 3\].*96, 3\) and called"),
        (lambda images: [], "a.onnx does not run on images"),
        (lambda images: 2 * logits(images), "a.onnx does not run on images"),
        (lambda images: [logits(images)[0][:, :2]], r"float32 \[2, 2\].*expected float32 \[2, 3\]"),
        (lambda images: [logits(images)[0].astype(complex)], "array complex128"),
    ],
)
def test_programs_that_do_not_fit_their_metadata_are_one_error(read, program, message):
    """Errors of the runtimes become one message; a full memory stays what it is."""
    with pytest.raises(UserError, match=message):
        read(program).logits(IMAGES)
    assert read().logits(IMAGES).shape == (2, 3)

    def full(images):
        raise RuntimeError("RESOURCE_EXHAUSTED: 10 GB")

    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        read(full).logits(IMAGES)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_one_error(value, read, pictures):
    """Protects from an accuracy of numbers that mean nothing, and from a status of 0."""

    def broken(images):
        found = logits(images)
        found[0][1, 2] = value
        return found

    message = r"a.onnx gives values that are not finite for 1 of 2 images.*export it again"
    for function in (read(broken).logits, read(broken).probabilities):
        with pytest.raises(UserError, match=message):
            function(IMAGES)
    config = default_config()
    config.data.source, config.data.test_split = f"folder:{pictures}", "test"
    config.evaluation.batch_size = 4
    with pytest.raises(UserError, match="not finite for 1 of 4 images"):
        evaluate_file(Path(__file__), config)


def test_logits_are_not_taken_for_probabilities(read):
    """Metadata that call logits probabilities would give a wrong loss."""
    with pytest.raises(UserError, match=r"-2.*that its metadata call probabilities"):
        read(output="probabilities").logits(IMAGES)
    shares = read(lambda images: [np.full((2, 3), 1 / 3, np.float32)], output="probabilities")
    assert shares.probabilities(IMAGES).sum() == pytest.approx(2)


def test_evaluation_needs_neither_the_network_nor_its_module(read, pictures):
    """A file of somebody's own network is evaluated where nobody knows the network."""
    config = default_config()
    config.data.source, config.data.test_split = f"folder:{pictures}", "test"
    config.evaluation.batch_size = 4
    read(model="their_own_network")
    report = evaluate_file(Path(__file__).with_name("conftest.py"), config)
    assert report["model"] == "their_own_network" and report["count"]
