"""Exporting classifiers: files agree with their networks, or are not written."""

import argparse

import numpy as np
import pytest

from netzoo.cli import export as command
from netzoo.errors import UserError
from netzoo.export import check, litert, write
from netzoo.export.classifier import FileClassifier, image_program
from netzoo.export.formats import FORMATS
from netzoo.export.program import UnreadableError
from netzoo.export.write import export_classifier
from netzoo.models import create_model
from netzoo.tasks.classification.predictor import Predictor
from netzoo.weights import save_safetensors
from tests.conftest import tiny_config
from tests.export.conftest import NAMES, PREPROCESSING, drawn, every_format

# Both sides compute in float32; the sums of the network have up to 16,384 terms.
TOLERANCE = 2e-6


@pytest.fixture(scope="module", params=every_format("stablehlo", "onnx"))
def file_format(request) -> str:
    return request.param


@pytest.fixture(scope="module", params=[False, True], ids=["logits", "with-preprocessing"])
def exported(request, file_format, predictor, images, tmp_path_factory) -> FileClassifier:
    """The small classifier as a file of each format."""
    out = tmp_path_factory.mktemp("export") / f"small{FORMATS[file_format].suffix}"
    inside = request.param
    export_classifier(
        predictor, "reliability_small", out, file_format, images, with_preprocessing=inside
    )
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    return FileClassifier(out, predictor.batch_size)


def test_files_classify_as_their_network_does(exported, predictor, images):
    """File and network agree in batches of any size, with the temperature of the network."""
    expected = predictor.probabilities(list(images.pixels))
    assert np.ptp(expected, axis=0).min() > 0.01  # otherwise, any constant would agree
    for count in (1, 5):
        found = exported.probabilities(list(images.pixels[:count]))
        np.testing.assert_allclose(found, expected[:count], rtol=0, atol=TOLERANCE)
    logits = exported.logits(images.pixels)
    if exported.output == "logits":
        np.testing.assert_allclose(logits, predictor.logits(list(images.pixels)), atol=2e-5)
    assert (logits.argmax(-1) == expected.argmax(-1)).all()


def test_files_classify_images_of_any_size(exported, predictor, pictures):
    """Preprocessing and class names travel with the file."""
    files = sorted((pictures / "test").rglob("*.png"))[:3]
    found, expected = exported(files), predictor(files)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    assert exported.top_k(found, 1)[0][0][0] == predictor.top_k(expected, 1)[0][0][0]
    assert (exported.preprocessing, exported.class_names) == (PREPROCESSING, NAMES)
    assert exported.model == "reliability_small"


@pytest.mark.parametrize("factor", [1.001, np.nan])
def test_a_file_that_differs_is_not_written(
    factor, file_format, predictor, images, tmp_path, monkeypatch
):
    """The old file stays, and the error names the image and class of the largest difference."""

    def wrong(predictor, *args):
        program = image_program(predictor, *args)
        return program._replace(function=lambda x: (factor * program.function(x)[0],))

    monkeypatch.setattr(write, "image_program", wrong)
    out = tmp_path / f"small{FORMATS[file_format].suffix}"
    out.write_bytes(b"old")
    with pytest.raises(UserError, match=r"not written.*image \d for '(daisy|roses|tulips)'"):
        export_classifier(predictor, "reliability_small", out, file_format, images)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_the_difference_is_relative_and_names_image_and_class(predictor, images):
    """Protects the figure and the place that the command prints."""

    class Shifted:
        output = "logits"

        def outputs(self, pixels):
            found = predictor.logits(list(pixels)).copy()
            if len(pixels) == 5:  # the second batch, from image 1 on
                found[2, 1] += 0.5
            return found

    found = check.compare(predictor, Shifted(), images)
    largest = np.abs(predictor.logits(list(images.pixels))).max()
    assert found.relative == pytest.approx(0.5 / largest, rel=1e-5)
    assert (found.image, found.class_name) == ("image 3", NAMES[1])


def test_a_run_is_compared_over_its_validation_split(predictor, pictures, tmp_path):
    """The images never come from the test split, and missing data give no images."""
    from netzoo.config import save_config
    from netzoo.tasks import create_task

    config = tiny_config(pictures)
    task = create_task(config)
    task.save(tmp_path)
    save_config(task.config.as_configdict(), tmp_path)
    found = check.run_images(predictor, tmp_path, task.config)
    assert len(found.pixels) == 11 and found.described == f"11 images of folder:{pictures} val"
    config.data.source = "folder:missing"
    assert check.run_images(predictor, tmp_path, config) is None
    drawn_flowers = check.painted_images(predictor)
    assert drawn_flowers.pixels.shape == (check.IMAGES, 32, 32, 3)
    assert len({pixels.tobytes() for pixels in drawn_flowers.pixels}) == check.IMAGES


def test_the_command_exports_a_file_of_weights(predictor, pictures, tmp_path, capfd, monkeypatch):
    """The output names the images, the difference and the file."""
    model = create_model("reliability_small", num_classes=len(NAMES))
    weights, out = tmp_path / "small.safetensors", tmp_path / "small.stablehlo"
    from netzoo.models.summary import variable_shapes

    save_safetensors(
        weights,
        drawn(variable_shapes(model, 32)),
        "reliability_small",
        preprocessing=PREPROCESSING,
        class_names=NAMES,
    )
    where = ["--weights", str(weights), "--format", "stablehlo", "--out"]
    command.main([*where, str(out), "--images", str(pictures / "val")])
    printed = capfd.readouterr().out
    assert "over 11 images of --images: largest difference" in printed
    assert f"written: {out}" in printed and out.is_file()
    with pytest.raises(UserError, match=r"ends with \.stablehlo"):
        command.main([*where, str(tmp_path / "small.onnx")])
    with pytest.raises(UserError, match="no images in"):
        command.main([*where, str(out), "--images", str(tmp_path)])
    for arguments in ([], ["--workdir", str(tmp_path), *where[:2]]):
        with pytest.raises(UserError, match="either --workdir DIR"):
            command.main([*arguments, *where[2:], str(out)])


def test_metadata_that_do_not_describe_a_classifier(predictor, tmp_path, file_format):
    """A file from elsewhere gives one message."""
    program = image_program(predictor, "reliability_small")
    for key, value, message in (
        ("class_names", [1], "expected a text for class_names"),
        ("temperature", 0, "expected 0.001 to 1000 for the temperature"),
        ("output", "masks", "expected logits or probabilities for output"),
    ):
        changed = program._replace(metadata={**program.metadata, key: value})
        out = tmp_path / f"small{FORMATS[file_format].suffix}"
        with open(out, "wb") as file:
            FORMATS[file_format].load().write(file, changed)
        with pytest.raises(UserError, match=f"does not describe a classifier.*{message}"):
            FileClassifier(out)


def test_runs_in_bfloat16_are_exported_in_float32(monkeypatch, pictures):
    """Not every runtime has bfloat16, and both sides of the comparison need one precision."""
    config = tiny_config(pictures)
    config.model = {"name": "mobilenet_v1", "dtype": "bfloat16"}
    monkeypatch.setattr(Predictor, "from_run", lambda workdir, which, config: config.model.dtype)
    options = argparse.Namespace(workdir="run", checkpoint="last")
    assert command._network(config, options) == ("float32", "mobilenet_v1")


def test_unknown_suffixes(tmp_path):
    """The error lists the known suffixes."""
    with pytest.raises(UserError, match=r"unknown suffix.*'\.pt'.*\.stablehlo"):
        FileClassifier(tmp_path / "small.pt")


def test_a_runtime_that_cannot_read_the_file(predictor, images, tmp_path, monkeypatch):
    """Protects users of int8 ResNets: the error names the file, the reason and what to do."""

    def unreadable(path):
        raise UnreadableError(path, "is damaged", ValueError("failed to prepare"))

    monkeypatch.setattr(litert, "write", lambda file, program, **options: file.write(b"model"))
    monkeypatch.setattr(litert, "read", unreadable)
    out = tmp_path / "a.tflite"
    with pytest.raises(UserError) as caught:
        export_classifier(predictor, "small", out, "litert", images, precision="int8")
    assert str(caught.value) == (
        f"{out} was not written, because the runtime of this format cannot read the file of this "
        "network: failed to prepare; use --precision float16"
    )
    assert not [*tmp_path.iterdir()]
