"""The comparison of all formats."""

import pytest

from netzoo.cli import export as command
from netzoo.errors import UserError
from netzoo.export.benchmark import NETWORK, benchmark


@pytest.mark.parametrize("repeats", [0, 2])
def test_every_format_is_measured_beside_the_network(repeats, predictor, images):
    """Without repeats, no time is measured."""
    first, *files = benchmark(predictor, "reliability_small", images, images, repeats, ["onnx"])
    assert (first.name, first.difference) == (NETWORK, 0.0)
    assert [file.name for file in files] == ["onnx"]
    for row in (first, *files):
        # The weights in float32, and at most a few kilobytes more.
        assert first.size <= row.size < first.size + 5_000
        assert row.difference < 2e-6
        assert (row.milliseconds is None) == (repeats == 0)
        assert row.milliseconds is None or row.milliseconds > 0


def test_a_file_that_cannot_be_written_does_not_stop_the_others(predictor, images, monkeypatch):
    """The row of the failed file gives the reason."""

    def write(file, program, precision="float32", calibration=()):
        raise UserError(f"{precision} from {len(calibration)} images")

    monkeypatch.setattr("netzoo.export.litert.write", write)
    kinds, ranges = ["litert int8", "litert float16"], images._replace(pixels=images.pixels[:2])
    network, *files = benchmark(predictor, "reliability_small", images, ranges, 1, kinds)
    assert network.milliseconds > 0
    assert [(*file,) for file in files] == [
        ("litert int8", None, None, None, "int8 from 2 images"),
        ("litert float16", None, None, None, "float16 from 0 images"),
    ]


def test_options_that_do_not_fit_a_benchmark(tmp_path):
    """Wrong options are errors before the weights are read."""
    where = ["--weights", "mobilenet_v2.tv_in1k"]
    for options in (["--format", "onnx"], ["--with-preprocessing"], ["--repeats", "0"]):
        with pytest.raises(UserError, match="--benchmark measures every format"):
            command.main([*where, "--benchmark", *options])
    with pytest.raises(UserError, match="give --format and --out FILE, or --benchmark"):
        command.main([*where, "--out", str(tmp_path / "x.onnx")])
