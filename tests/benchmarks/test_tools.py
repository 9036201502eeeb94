"""The other benchmark tools measure what they claim, and keep their results."""

import itertools

import chex
import pytest

from benchmarks import layers, report, startup
from benchmarks.input_worker import netzoo_batches


@pytest.mark.slow
@pytest.mark.parametrize("name", ["depthwise 5x5, stride 2", "BatchNorm", "max-pool 3x3"])
def test_layers_of_both_compute_the_same(name):
    """Times of different results cannot be compared, so outputs and gradients must agree."""
    ours, theirs = (layers.compile_case(who, name, 1, True)() for who in layers.CONTESTANTS)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cache", ["none", "decoded"])
def test_input_is_netzoos_training_pipeline(pictures, cache):
    """The tool measures endless training batches of the requested size."""
    settings = {"source": f"folder:{pictures}", "split": "train", "data_dir": None}
    settings |= {"cache": cache, "batch_size": 8, "image_size": 24}
    batches = list(itertools.islice(netzoo_batches(settings), 7))  # more than an epoch
    assert {batch["image"].shape for batch in batches} == {(8, 24, 24, 3)}


def test_training_that_does_not_start_is_an_error(tmp_path, capfd):
    """Otherwise, the tool would wait forever for a first step."""
    with pytest.raises(SystemExit, match=r"train\.py ended with status 1"):
        startup.cost_of_first_step("configs/nothing.py", tmp_path, tmp_path)
    assert "nothing.py" in capfd.readouterr().err


def test_starts_are_listed_with_their_spread(tmp_path, monkeypatch):
    """The page quotes medians and ranges over the turns, which the slowest start must not hide."""
    turns = iter([(1.0, 5.0), (9.0, 2.0), (2.0, 3.0)])
    source = [{"image": b"", "label": 0, "name": ""}]
    monkeypatch.setattr(startup, "open_source", lambda *_: source)
    monkeypatch.setattr(startup, "cost", lambda *_: None)
    monkeypatch.setattr(startup, "costs", lambda *_: [("first run", startup.Cost(*next(turns)))])
    startup.main(["--repeats", "3", "--out", str(tmp_path)])
    [line] = report.Lines(tmp_path, "startup.csv", startup.KEY).all()
    columns = ("run", "seconds", "fastest", "slowest", "processor_seconds", "repeats")
    assert [line[name] for name in columns] == ["first run", 2.0, 1.0, 9.0, 3.0, 3]


def test_a_start_counts_the_processor_seconds_of_its_process(tmp_path):
    """Protects the column from counting this process, which only waits."""
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    used = [startup.cost(["-c", code], tmp_path).processor_seconds for code in ("pass", busy)]
    assert used[0] < 0.4 and used[1] > 0.5


def test_lines_are_read_as_they_were_written(tmp_path):
    """A continued table mixes old and new lines; a second line for a key replaces the first."""
    lines = report.Lines(tmp_path, "lines.csv", ("name", "size"))
    lines.add([{"name": "a", "size": 1, "rate": 0.5}, {"name": "b", "size": 1, "rate": 2.0}])
    lines.add([{"name": "a", "size": 1, "rate": 0.25, "more": "x"}])
    again = report.Lines(tmp_path, "lines.csv", ("name", "size"))
    assert again.get(["a", 1]) == {"name": "a", "size": 1, "rate": 0.25, "more": "x"}
    assert again.get(["b", 1]) == {"name": "b", "size": 1, "rate": 2.0, "more": ""}
    assert again.get(["b", 2]) is None
