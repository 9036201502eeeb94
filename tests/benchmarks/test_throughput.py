"""The table of throughputs, with contestants that compute nothing."""

import csv
import itertools
import json
import sys
from pathlib import Path

import pytest

from benchmarks import contestants, pictures, report, throughput
from benchmarks.peers import CONTESTANTS, KERAS, OPTIONS, PEERS, TORCH
from netzoo.models import list_models

FAKE = Path(__file__).parent / "fake_contestant.py"
DESCRIPTION = {
    "parameters": 7,
    "losses": [6.9, 6.8],
    "exact": True,
    "compile_seconds": 1.0,
    "macs": 50,
    "peak_flops": 10_000.0,
    "versions": {"device": "none"},
}
# Seconds of three repetitions.
SECONDS = {
    "netzoo": [1, 2, 4],
    "flax": [2, 8, 12],
    "torch": [1, 2, 8],
    "torch channels_last": [0.5, 1, 1],
}


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    """Replace all contestants by fakes; return the settings that a test may change."""
    script = {name: {"seconds": seconds} for name, seconds in SECONDS.items()}
    log = tmp_path / "log"

    def command(contestant, python, settings):
        mine = {
            "description": DESCRIPTION,
            "peak_bytes": 2**20,
            **script[contestant.name],
            "contestant": contestant.name,
            "log": str(log),
        }
        if settings["model"] == script.get("broken"):
            mine["dies"] = True
        return [sys.executable, str(FAKE), json.dumps(mine)]

    monkeypatch.setattr(throughput, "command", command)
    monkeypatch.setattr(throughput, "find_python", lambda *arguments: sys.executable)
    script["log"] = log
    return script


def run(out: Path, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """Return the exit status and the lines of the CSV file."""
    flags = ("--repeats", "3", "--steps", "5", "--batch-size", "2", "--mode", "train")
    status = throughput.main([*flags, "--peers", "flax,torch", "--out", str(out), *arguments])
    with (out / "throughput.csv").open() as file:
        return status, list(csv.DictReader(file))


def started(fakes) -> list[str]:
    events = map(json.loads, fakes["log"].read_text().splitlines())
    return [name for name, event in events if event == "start"]


def test_contestants_take_turns(fakes, tmp_path):
    """Other load on the machine must affect all contestants equally."""
    run(tmp_path)
    events = [json.loads(line) for line in fakes["log"].read_text().splitlines()]
    names = list(SECONDS)
    rounds = [events[start : start + 4] for start in range(0, len(events), 4)]
    starts = [[name, "start"] for name in names]
    # The processes that start first run slower, so half of the repetitions start them in reverse.
    assert rounds.pop(3) == starts[::-1] and rounds.pop(0) == starts
    assert [sorted(turn) for turn in rounds] == [sorted([name, 5] for name in names)] * 3
    # Otherwise each contestant would always run after the same one.
    assert len({json.dumps(turn) for turn in rounds}) > 1


def test_ratios_are_taken_within_a_repetition(fakes, tmp_path):
    """Ratios are medians over repetitions; a ratio of median rates would mix repetitions."""
    fakes["flax"]["peak_bytes"] = 2**22
    _, (netzoo, flax, *_) = run(tmp_path)
    assert float(netzoo["images_per_second"]) == pytest.approx(5)  # 2 images, 5 steps, 2 s
    assert float(flax["images_per_second"]) == pytest.approx(1.25)
    ratios = [float(flax["netzoo_ratio" + end]) for end in ("", "_low", "_high")]
    assert ratios == pytest.approx([3, 2, 4])
    assert float(flax["netzoo_memory_ratio"]) == pytest.approx(1 / 4)
    # Ten images in the median of 2 s, of which 1.75 cores were busy.
    assert float(netzoo["core_seconds_per_image"]) == pytest.approx(0.35)
    # 50 multiply-adds, three times as many in training, 5 images per second.
    assert float(netzoo["mfu"]) == pytest.approx(2 * 50 * 3 * 5 / 10_000)


def test_the_faster_layout_is_compared(fakes, tmp_path, capsys):
    """The table, the means and the figure compare a peer in its best setting."""
    run(tmp_path)
    out = capsys.readouterr().out
    assert "netzoo 5.0 img/s, 3.00 x flax, 0.50 x torch" in out
    assert "train: netzoo is 0.50 x torch" in out
    assert (tmp_path / "throughput.png").stat().st_size > 5_000


def test_a_table_continues_where_it_stopped(fakes, tmp_path):
    """A table that took an hour is not measured again for its last row, nor lost if a row fails."""
    fakes["broken"] = "resnet18"
    models = ("--model", "mobilenet_v2", "resnet18", "vgg11")
    status, lines = run(tmp_path, *models)
    assert status == 1
    assert [line["model"] for line in lines] == ["mobilenet_v2"] * 4 + ["vgg11"] * 4
    fakes["broken"] = None
    fakes["log"].unlink()
    status, lines = run(tmp_path, *models)
    assert status == 0 and len(lines) == 12
    assert started(fakes) == [*SECONDS, *[*SECONDS][::-1]]
    fakes["log"].unlink()
    assert run(tmp_path, *models) == (0, lines)
    assert not fakes["log"].exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": 8}, "flax has 8 parameters and netzoo 7"),
        ({"losses": [6.9, float("nan")]}, "losses of flax"),
        ({"losses": [6.9, 7.5]}, "loss 2 is 6.8 for netzoo and 7.5 for flax"),
    ],
)
def test_what_computes_something_else_stops_the_measurement(fakes, tmp_path, change, message):
    """A ratio between different networks has no meaning."""
    fakes["flax"]["description"] = {**DESCRIPTION, **change}
    with pytest.raises(SystemExit, match=message):
        run(tmp_path)


def test_versions_are_drawn(tmp_path, monkeypatch, capsys):
    """The curve of a network goes through its ratio to the peer's best setting in every version."""
    row = {"model": "resnet18", "image_size": 64, "batch_size": 2, "mode": "train"}
    row |= {"dtype": "float32", "remat": 0}
    for version, ratio in ("0.1", 0.5), ("0.2", 0.75):
        peers = [("netzoo", 5.0, 1.0), ("flax", 4.0, 9.0)]
        peers += [("torch", 4.0, ratio), ("torch c", 1.0, 3.0)]
        file = report.Lines(tmp_path / version, "throughput.csv", throughput.KEY)
        columns = ("contestant", "images_per_second", "netzoo_ratio")
        lines = [{**row, **dict(zip(columns, x, strict=True))} for x in peers]
        file.add({**line, "peer": line["contestant"].split()[0]} for line in lines)
    drawn = []
    monkeypatch.setattr(pictures, "draw_versions", lambda *values: drawn.append(values))
    folders = ["--versions", *(str(tmp_path / version) for version in ("0.1", "0.2"))]
    out = ["--out", str(tmp_path / "all")]
    assert throughput.main([*folders, "--peers", "torch,flax", *out]) == 0
    ((lines, peer, path),) = drawn
    values = [[line[key] for key in ("version", "model", "netzoo_ratio")] for line in lines]
    assert values == [["0.1", "resnet18", 0.5], ["0.2", "resnet18", 0.75]]
    assert peer == "torch" and path == tmp_path / "all" / "versions.png"
    monkeypatch.undo()
    assert throughput.main([*folders, "--peers", "torch", *out]) == 0
    assert path.stat().st_size > 5_000 and str(path) in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no table compares netzoo with keras"):
        throughput.main([*folders, "--peers", "keras", *out])
    with pytest.raises(SystemExit, match=r"missing has no throughput\.csv"):
        throughput.main(["--versions", str(tmp_path / "missing"), *out])


def test_every_batch_size_has_a_panel_of_versions(tmp_path, monkeypatch):
    """Curves of all batch sizes in one panel made a legend that is higher than the picture."""
    line = {"model": "resnet18", "image_size": 64, "mode": "infer", "netzoo_ratio": 0.9}
    lines = [
        {**line, "batch_size": batch, "version": version, "model": model}
        for batch, model in ((32, "resnet18"), (1, "resnet18"), (1, "alexnet"))
        for version in ("0.1", "0.2")
    ]
    figures = []
    monkeypatch.setattr(pictures.Figure, "savefig", lambda figure, path: figures.append(figure))
    pictures.draw_versions(lines, "torch", tmp_path / "versions.png")
    panels = {
        axes.get_title(): [text.get_text() for text in axes.get_legend().get_texts()]
        for axes in figures[0].axes
    }
    assert panels == {
        "inference, 64 px, batch 32": ["resnet18"],
        "inference, 64 px, batch 1": ["resnet18", "alexnet"],
    }


def test_every_peer_has_a_colour():
    """With more peers than colours, a finished measurement ended in a traceback."""
    assert len(pictures.COLORS) == 1 + len(PEERS) == len(set(pictures.COLORS))


def test_an_error_is_told(fakes, tmp_path, capsys):
    """Protects users from a traceback for a misspelt network."""
    fakes["netzoo"]["description"] = {"error": "unknown model"}
    with pytest.raises(FileNotFoundError):  # nothing was measured or written
        run(tmp_path)
    assert "netzoo: unknown model; not measured" in capsys.readouterr().out


def test_a_missing_peer_is_said(capsys):
    """A table without a peer would look as if nobody had requested the peer."""
    assert (
        contestants.find_python("torch", ["no_such_module"], ["/no/python", sys.executable]) is None
    )
    out = capsys.readouterr().out
    assert "torch is left out" in out and "no_such_module" in out and "--peer-python" in out
    assert contestants.find_python("json", ["json"], ["/no/python", sys.executable])


def test_only_another_jax_runs_in_another_environment(monkeypatch):
    """The others in JAX use the same JAX as netzoo, so that their rates are comparable."""
    monkeypatch.setattr(throughput, "find_python", lambda peer, modules, pythons: pythons[0])
    found = throughput.find_contestants(["flax", "setup", "other_jax"], ["/other/python"])
    pythons = {contestant.name: python for contestant, python in found.items()}
    mine = dict.fromkeys(("netzoo", "flax", "setup"), sys.executable)
    assert pythons == {**mine, "other_jax": "/other/python"}


def test_networks_without_peer_are_said(fakes, tmp_path, capsys):
    """The same holds if a library lacks the network."""
    _, lines = run(tmp_path, "--model", "googlenet")
    assert [line["contestant"] for line in lines] == ["netzoo", "flax"]
    assert "googlenet 128 px, batch 2, train: torch has no such network" in capsys.readouterr().out


def test_peers_have_networks_that_exist():
    """A misspelt name would leave a peer out, and another network would stop the table."""
    keras = next(c for c in CONTESTANTS if c.name == "keras")
    assert keras.has("vgg16", 224) and not keras.has("vgg16", 128) and not keras.has("vgg11", 224)
    assert {*TORCH, *KERAS, *OPTIONS} <= set(list_models())
    assert len({c.name for c in CONTESTANTS}) == len(CONTESTANTS)


@pytest.mark.parametrize(
    ("varied", "contestant", "drawn"),
    [
        ("batch_size", ("netzoo",), ("draw_sweep", "batch_size", "model")),
        ("image_size", ("netzoo", "torch"), ("draw_sweep", "image_size", "contestant")),
        ("model", ("netzoo",), ("draw_steps",)),
        ("model", ("netzoo", "torch"), ("draw_ratios",)),
    ],
)
def test_the_picture_that_belongs_to_a_table(varied, contestant, drawn, monkeypatch, tmp_path):
    """Curves over a swept setting, bars if only networks differ, ratios if there are peers."""
    values = {"model": ("resnet18", "resnet34"), "batch_size": (1, 2), "image_size": (64, 96)}
    models = values["model"] if varied == "model" or len(contestant) == 1 else ("resnet18",)
    sweep = values[varied] if varied != "model" else (0,)
    lines = []
    for model, value, name in itertools.product(models, sweep, contestant):
        row = {"model": model, "image_size": 64, "batch_size": 2, "mode": "train"}
        row |= {"dtype": "float32", "remat": 0} | ({varied: value} if varied != "model" else {})
        rates = {"images_per_second": 5.0, "netzoo_ratio": 1.0}
        rates |= {"netzoo_ratio_low": 0.9, "netzoo_ratio_high": 1.1}
        lines.append({**row, **rates, "contestant": name, "peer": name})
    called = []
    for name in ("draw_sweep", "draw_steps", "draw_ratios"):
        function = getattr(pictures, name)

        def counted(*args, name=name, function=function):
            called.append((name, *(a for a in args if isinstance(a, str))))
            function(*args)

        monkeypatch.setattr(pictures, name, counted)
    throughput.draw(lines, tmp_path)
    assert called == [drawn]
    assert (tmp_path / "throughput.png").stat().st_size > 5_000
