"""The comparison of all formats."""

import pytest

from netzoo.cli import export as command
from netzoo.errors import UserError
from netzoo.export.benchmark import NETWORK, benchmark


@pytest.mark.parametrize("repeats", [0, 2])
def test_every_format_is_measured_beside_the_network(repeats, predictor, images):
    """Without repeats, no time is measured."""
    first, *files = benchmark(predictor, "reliability_small", images, repeats, ["onnx"])
    assert (first.name, first.difference) == (NETWORK, 0.0)
    assert [file.name for file in files] == ["onnx"]
    for row in (first, *files):
        # The weights in float32, and at most a few kilobytes more.
        assert first.size <= row.size < first.size + 5_000
        assert row.difference < 2e-6
        assert (row.milliseconds is None) == (repeats == 0)
        assert row.milliseconds is None or row.milliseconds > 0


def test_options_that_do_not_fit_a_benchmark(tmp_path):
    """Wrong options are errors before the weights are read."""
    where = ["--weights", "mobilenet_v2.tv_in1k"]
    for options in (["--format", "onnx"], ["--with-preprocessing"], ["--repeats", "0"]):
        with pytest.raises(UserError, match="--benchmark measures every format"):
            command.main([*where, "--benchmark", *options])
    with pytest.raises(UserError, match="give --format and --out FILE, or --benchmark"):
        command.main([*where, "--out", str(tmp_path / "x.onnx")])
