"""Prediction for many files: unreadable files are reported, all others classified."""

import csv
import io
import json
import math
import os
import shutil
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from netzoo.cli.predict import main
from netzoo.errors import UserError
from netzoo.tasks.classification.predict import Options, predict
from netzoo.tasks.classification.prediction_output import writing
from netzoo.tasks.classification.predictor import Predictor
from netzoo.weights.published import Preprocessing
from tests.conftest import tiny_config


class Constant(nn.Module):
    """A network that always says `[/b]$x^$`."""

    num_classes: int = 2

    def __call__(self, images, *, train):
        return jnp.tile(jnp.log(jnp.array([0.25, 0.75])), (len(images), 1))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Predict with `Constant`, four images at a time."""
    preprocessing = Preprocessing((0, 0, 0), (1, 1, 1), 32, 28, "area")
    predictor = Predictor(Constant(), {}, preprocessing, ["daisy", "[/b]$x^$"], 4)
    monkeypatch.setattr(Predictor, "from_run", lambda *args: predictor)
    config = tiny_config("unused")
    return lambda *paths, **options: predict(
        config, tmp_path, [str(path) for path in paths], Options(top_k=1, **options)
    )


def test_weights_need_no_run(tmp_path, monkeypatch, capfd):
    """`netzoo predict --weights NAME` classifies; options of runs and contradictions are errors."""
    preprocessing = Preprocessing((0, 0, 0), (1, 1, 1), 32, 28, "area")
    asked = []

    def loaded(*weights):
        asked.append(weights)
        return Predictor(Constant(), {}, preprocessing)

    monkeypatch.setattr(Predictor, "from_weights", loaded)
    path = str(tmp_path / "a.png")
    Image.new("RGB", (40, 30)).save(path)
    assert main(["--weights", "resnet50.a1_in1k", path, "--json", "--top_k", "1"]) in (0, None)
    [entry] = json.loads(capfd.readouterr().out)
    assert entry["predictions"] == [{"class": "class 1", "probability": pytest.approx(0.75)}]
    assert asked == [("resnet50.a1_in1k", None)]
    for wrong, message in (
        (["--weights", "a", "--workdir", "b", path], "either --workdir DIR"),
        ([path], "either --workdir DIR"),
        (["--weights", "a", "--checkpoint", "best", path], "--checkpoint is for runs"),
        (["--weights", "a", "--config.evaluation.crop_pct=1", path], "not of --weights"),
    ):
        with pytest.raises(UserError, match=message):
            main(wrong)


class Sides(nn.Module):
    """A network whose logits are the brightness of the left and of the right half."""

    num_classes: int = 2

    def __call__(self, images, *, train):
        halves = jnp.split(images.mean((1, 3)), 2, axis=-1)
        return jnp.stack([half.mean(-1) for half in halves], -1)


def test_mirror_images_are_averaged(tmp_path, monkeypatch, capfd):
    """With `--tta flip` or the key of the run, both sides of the image count alike."""
    preprocessing = Preprocessing((0, 0, 0), (255, 255, 255), 28, 28, "area")
    predictor = Predictor(Sides(), {}, preprocessing, ["left", "right"], 4)
    monkeypatch.setattr(Predictor, "from_run", lambda *args: predictor)
    pixels = np.zeros((28, 28, 3), np.uint8)
    pixels[:, :14] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    config = tiny_config("unused")

    def shares(**options):
        assert (
            predict(config, tmp_path, [str(tmp_path / "a.png")], Options(json=True, **options)) == 0
        )
        [entry] = json.loads(capfd.readouterr().out)
        return {one["class"]: one["probability"] for one in entry["predictions"]}

    bright = 1 / (1 + math.exp(-1))
    assert shares() == pytest.approx({"left": bright, "right": 1 - bright})
    assert shares(tta="flip") == pytest.approx({"left": 0.5, "right": 0.5})
    config.evaluation.tta = "flip"
    assert shares() == pytest.approx({"left": 0.5, "right": 0.5})


@pytest.fixture
def photos(pictures, tmp_path):
    """A folder with one good picture."""
    (tmp_path / "photos").mkdir()
    good = next((pictures / "train" / "daisy").iterdir())
    shutil.copy(good, tmp_path / "photos" / "good.png")
    return tmp_path / "photos"


def test_bad_files_are_named_and_good_ones_answered(run, photos, capfd):
    """One bad file among a thousand costs one line, whatever is wrong with it."""
    (photos / "text.jpg").write_text("no picture")
    (photos / "empty.jpg").touch()
    (photos / "dangling.jpg").symlink_to("nowhere")
    (photos / "circle.jpg").symlink_to("circle.jpg")
    (photos / "device.jpg").symlink_to("/dev/zero")
    os.mkfifo(photos / "fifo.jpg")
    (photos / "folder.jpg").mkdir()
    (photos / "around").symlink_to("..")
    with (photos / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)
    assert run(photos, photos / "missing.jpg", json=True) == 1
    done = capfd.readouterr()
    assert [entry["path"] for entry in json.loads(done.out)] == [str(photos / "good.png")]
    names = ("text", "empty", "dangling", "circle", "device", "fifo", "sparse", "missing")
    named = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(named) == len(names)
    for name in names:
        assert sum(f"{name}.jpg" in line for line in named) == 1


@pytest.mark.parametrize("name", ["[bold]x.png", "$x^$.png", "a\n\x1b[31mb.png", b"\xff.png"])
def test_any_name_is_shown(run, photos, capfd, name):
    """Names are not interpreted as markup, formulas or terminal commands."""
    path = photos / os.fsdecode(name)
    (photos / "good.png").rename(path)
    assert run(path, figure=str(photos / "sheet.png")) == 0
    shown = capfd.readouterr().out
    assert "[/b]$x^$ 75.0%" in shown and "\x1b" not in shown
    assert (photos / "sheet.png").stat().st_size > 5000
    assert run(path, json=True) == 0
    [entry] = json.loads(capfd.readouterr().out)
    assert os.fsencode(entry["path"]) == os.fsencode(path)


def test_an_interruption_keeps_the_results(run, photos, capfd, monkeypatch):
    """Protects what was predicted until Ctrl-C; the status says that it is not all."""
    probabilities, parts = Predictor.probabilities, iter(range(2))

    def once(self, images):
        if next(parts):
            raise KeyboardInterrupt
        return probabilities(self, images)

    monkeypatch.setattr(Predictor, "probabilities", once)
    assert run(*9 * [photos / "good.png"], json=True) == 130
    done = capfd.readouterr()
    assert len(json.loads(done.out)) == 4
    assert "interrupted: 4 of 9 images" in done.err


def test_images_of_a_folder(run, photos, capfd):
    """Folders give the images that training takes from them, and the others are counted."""
    shots = photos / "shots"
    (shots / "__MACOSX").mkdir(parents=True)
    for name in ("a.ppm", "b.JPG", "c.jfif"):
        Image.open(photos / "good.png").convert("RGB").save(shots / name, quality=90)
    for name in ("._a.ppm", "__MACOSX/a.ppm", "a.txt"):
        (shots / name).write_bytes(b"litter")
    assert run(shots, json=True) == 0
    done = capfd.readouterr()
    found = [entry["path"] for entry in json.loads(done.out)]
    assert found == [str(shots / name) for name in ("a.ppm", "b.JPG", "c.jfif")]
    assert "ignored other files: 2 hidden, 1 .txt" in done.err


def test_patterns_and_a_list(run, photos, capfd, monkeypatch):
    """A quoted pattern and a list on standard input name images; the list may end in any way."""
    good = (photos / "good.png").read_bytes()
    (photos / "deep" / "er").mkdir(parents=True)
    for name in ("deep/er/a.png", "deep/b.png", "[x]*.png"):
        (photos / name).write_bytes(good)

    def found(*arguments):
        assert run(*arguments, jsonl=True) == 0
        lines = capfd.readouterr().out.splitlines()
        return [str(Path(json.loads(line)["path"]).relative_to(photos)) for line in lines]

    assert found(photos / "deep" / "**" / "*.png") == ["deep/b.png", "deep/er/a.png"]
    assert found(photos / "[x]*.png") == ["[x]*.png"]  # an existing name comes before a pattern
    assert found(photos / "deep" / "er", photos / "goo?.png") == ["deep/er/a.png", "good.png"]
    with pytest.raises(UserError, match=r"no file matches .*\*\.jpg"):
        run(photos / "*.jpg")
    for end in ("\n", "\r\n", "\0"):
        text = end.join([str(photos / "good.png"), str(photos / "deep"), ""])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert found("-") == ["good.png", "deep/b.png", "deep/er/a.png"]


def test_lines_and_cells(run, photos, capfd):
    """JSON lines and CSV hold what JSON holds; a bad file does not end them."""
    (photos / 'a,"b.png').write_bytes((photos / "good.png").read_bytes())
    (photos / "bad.png").write_text("no picture")
    assert run(photos, json=True) == 1
    expected = json.loads(capfd.readouterr().out)
    assert run(photos, jsonl=True) == 1
    assert list(map(json.loads, capfd.readouterr().out.splitlines())) == expected
    assert run(photos, csv=True) == 1
    done = capfd.readouterr()
    head, *rows = csv.reader(io.StringIO(done.out))
    assert head == ["path", "class_1", "probability_1"] and "bad.png" in done.err
    assert rows == [[entry["path"], "[/b]$x^$", "0.750000"] for entry in expected]
    assert len(rows) == 2


@pytest.mark.parametrize("name", ["out.csv", "out.JSONL", "out.json"])
def test_the_name_of_the_output_is_its_format(name, run, photos, tmp_path, capfd):
    """A file gets its format from its name, and appears only when it is complete."""
    assert run(photos, output=str(tmp_path / name)) == 0
    done = capfd.readouterr()
    assert done.out == "" and f"written: {tmp_path / name}" in done.err
    text = (tmp_path / name).read_text()
    starts = {"csv": "path,", "jsonl": '{"path"', "json": '[{"path"'}
    assert text.startswith(starts[name.lower().partition(".")[2]]) and text.endswith("\n")


def test_a_format_that_cannot_be_written(run, photos, tmp_path):
    """The messages name the formats."""
    with pytest.raises(UserError, match=r"name the file \.json, \.jsonl, \.csv, or add --json"):
        run(photos, output=str(tmp_path / "table.txt"))
    with pytest.raises(UserError, match=r"expected one of .*; got --json and --csv"):
        run(photos, json=True, csv=True)
    run(photos, csv=True, output=str(tmp_path / "table.txt"))
    assert (tmp_path / "table.txt").read_text().startswith("path,")


def test_nothing_to_predict(run, photos):
    """An empty folder is an error with the expected extensions."""
    (photos / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images in .*empty"):
        run(photos / "empty")


@pytest.mark.parametrize("option", ["figure", "output"])
def test_a_result_does_not_replace_a_picture(option, run, photos):
    """A picture is lost if its own name is given for a result."""
    good = photos / "good.png"
    before = good.read_bytes()
    for wanted in (photos, good):
        with pytest.raises(UserError, match=r"good\.png is an input and would be replaced"):
            run(wanted, csv=True, **{option: str(good)})
    assert good.read_bytes() == before


def test_a_sheet_of_too_many_pictures(run, photos, capfd):
    """Predictions are printed even if the figure cannot be drawn."""
    with pytest.raises(UserError, match=r"sheet\.png was not written: expected at most 300 images"):
        run(*301 * [photos / "good.png"], json=True, figure=str(photos / "sheet.png"))
    assert len(json.loads(capfd.readouterr().out)) == 301


def test_an_image_below_all_thresholds_says_so(capsys):
    """The table of a multi-label run has no empty row."""
    with writing("table", None, 2) as add:
        add([(Path("a.jpg"), []), (Path("b.jpg"), [("daisy", 0.9), ("roses", 0.8)])])
    rows = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if "jpg" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["a.jpg", "no class", ""],
        ["b.jpg", "daisy 90.0%", "roses 80.0%"],
    ]
