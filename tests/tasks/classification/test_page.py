"""The page of an evaluation: what it shows, and that it neither runs nor requests anything."""

import base64
import html.parser
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from netzoo.errors import UserError
from netzoo.figures import new_figure
from netzoo.tasks.classification import pictures
from netzoo.tasks.classification.calibration import Temperature
from netzoo.tasks.classification.page import Rows
from netzoo.tasks.classification.pictures import evaluation_pictures
from netzoo.tasks.classification.predictions import Prediction
from netzoo.tasks.classification.ranking import precision_recall
from netzoo.tasks.classification.thumbnails import SIDE, heat_maps
from netzoo.tasks.classification.versus import Evaluation, compare
from tests.tasks.classification.report_pages import LABELS, LOGITS, NASTY, Pictures, page_of


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Draw no figures, which take most of the time; the tests in a browser draw them."""
    monkeypatch.setattr("netzoo.figures.data_uri", lambda figure: "data:image/svg+xml;base64,")


class Reader(html.parser.HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.addresses, self.text = set(), [], ""
        self.attributes = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data):
        self.text += data


def test_names_from_strangers_stay_text():
    """Protects whoever opens the report of a downloaded run or data set."""
    names = [f"{NASTY}/{i}.png" for i in range(5)]
    page = page_of([NASTY, "daisy", "roses"], names, network=NASTY, data=NASTY, command=NASTY)
    read = Reader(page)
    assert not read.tags & {"script", "iframe", "link", "object", "embed", "form", "base", "a"}
    assert not [name for name in read.attributes if name.startswith("on")]
    assert read.addresses and all(address.startswith("data:") for address in read.addresses)
    shown = NASTY.replace("\u202e", "\\u202e")
    assert read.text.count(shown) > 10 and "49" not in read.text and "\u202e" not in page
    assert f"{shown}/3.png" in read.text
    assert "default-src 'none'" in page


def test_the_page_says_what_was_evaluated():
    """The scores, the examples and the facts of the run are on the page, in the right order."""
    page = page_of(["daisy", "roses", "tulips"], [f"{i}.png" for i in range(5)])
    text = re.sub(r"\s+", " ", Reader(page).text)
    assert "60.0% accuracy 3 of 5 images are classified correctly" in text
    assert "expect 23.1% to 88.2% (95 % interval)" in text
    assert "daisy → tulips 1 image, 33.3% of daisy" in text
    worst = text[text.index("Worst mistakes") : text.index("Least certain")]
    assert worst.index("3.png") < worst.index("1.png") and "0.png" not in worst
    assert "daisy, taken for tulips" in worst and "tulips95.0%" in worst.replace(" ", "")
    least = text[text.index("Least certain") : text.index("The run")]
    order = [least.index(f"{i}.png") for i in (1, 4, 2, 0, 3)]
    assert order == sorted(order)
    assert "100 images per second (median), 3.0 minutes" in text
    assert "netzoo train" in text and "netzoo eval --workdir runs/x" in text and "jax 1.2" in text
    assert "A temperature of 1.50, fitted on val" in text
    assert "netzoo eval --workdir runs/x --temperature fit" in text
    assert page.count("data:image/svg+xml") == 3  # reliability, precision and recall, curves


def test_a_temperature_changes_the_probabilities():
    """The probabilities on the page are those of predictions of the run."""
    page = page_of(
        ["daisy", "roses", "tulips"], [f"{i}.png" for i in range(5)], temperature=Temperature(2.0)
    )
    text = re.sub(r"\s+", " ", Reader(page).text)
    root = np.sqrt([0.01, 0.04, 0.95])
    assert f"tulips{root[2] / root.sum():.1%}" in text and "tulips95.0%" not in text
    assert "A temperature of 2.00, fitted on" in text and "--temperature fit" not in text


def test_pictures_are_what_the_network_sees():
    """Pictures are small JPEGs of the central crop; an image that is gone leaves a sentence."""
    page = page_of(["daisy", "roses", "tulips"], ["0.png", "1.png", "2.png", "gone.png", "4.png"])
    jpegs = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    sizes = {Image.open(io.BytesIO(base64.b64decode(data))).size for data in jpegs}
    assert sizes == {(SIDE, SIDE)}
    assert "This image can no longer be read." in page and "no such file" not in page


def test_the_page_compares_two_runs():
    """The comparison shows the images that only one of the runs classifies correctly."""
    names = [f"{i}.png" for i in range(5)]
    rows = {name: Prediction(name, "daisy", "daisy", 0.5, 0.5) for name in names}
    rows["0.png"] = rows["0.png"]._replace(prediction="roses")
    scores = {
        **{"accuracy": 0.8, "interval": [0.3, 0.9], "macro_recall": 0.7, "left_out": 0},
        "per_class": [{"name": "daisy", "recall": 0.123}],
    }
    right = LOGITS.argmax(-1) == LABELS
    found = compare(Evaluation(NASTY, scores, rows), names, right)
    page = page_of(["daisy", "roses", "tulips"], names, comparison=found)
    assert "script" not in Reader(page).tags
    text = re.sub(r"\s+", " ", Reader(page).text)
    text = text[text.index("Comparison with") : text.index("Confusions")]
    here, there = text.index("Only this run is right"), text.rindex("Only <script>")
    assert here < text.index("0.png") < there < text.index("3.png") < text.index("1.png")
    assert "differs by -20.0 points" in text and "Recall of daisy33.3%12.3%" in text
    assert "p = 1: the difference may be due to chance" in text


def test_many_classes_show_the_worst_first():
    """With many classes, the worst come first and the matrix is a picture."""
    classes = [f"_class {i}" for i in range(30)]
    labels = np.arange(60) % 29  # the last class has no images
    logits = np.random.default_rng(0).normal(size=(60, 30))
    page = page_of(classes, [f"{i}.png" for i in range(60)], logits, labels)
    text = Reader(page).text
    assert "All 30 classes" in text and "Confusion matrix of 30 classes" in page
    assert "no images" in text and "the 8 classes with the lowest average precision" in text
    assert len(page) < 1_500_000


def test_an_evaluation_without_rows_has_a_shorter_page():
    """A split that is too large to keep its logits, or a network that diverged, has a page too."""
    page = page_of(["daisy", "roses", "tulips"], list("01234"), kept=False, train=[], lines=[])
    text = Reader(page).text
    assert "60.0%" in text and "Confusion matrix" in text and "Worst mistakes" not in text
    assert "images per second" not in text and "data:" not in " ".join(Reader(page).addresses)


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        # By hand: thresholds 0.8 (1 of 1), 0.4 (1 of 2), 0.35 (2 of 3).
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.5 * 1 + 0.5 * 2 / 3),
        # Equal scores are one threshold, in whatever order they come.
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], 1 / 4),
        ([0.5, 0.5, 0.5, 0.5], [0, 0, 0, 1], 1 / 4),
        ([0.9, 0.1], [1, 0], 1.0),
    ],
)
def test_average_precision(scores, positive, expected):
    """Values computed by hand."""
    curve = precision_recall(np.array(scores), np.array(positive, bool))
    assert curve.average_precision == pytest.approx(expected, abs=1e-12)
    assert curve.recall[-1] == 1


def test_a_class_without_images_has_no_curve():
    assert precision_recall(np.array([0.1, 0.2]), np.zeros(2, bool)) is None


def test_pictures_are_explained():
    """The most confident mistakes and the least certain images get the map of their own picture."""
    asked = []

    def heat(indices):
        asked.extend(indices)
        return {3: "data:image/jpeg;base64,three", 1: "data:image/jpeg;base64,one"}

    names = [f"{i}.png" for i in range(5)]
    page = page_of(["daisy", "roses", "tulips"], names, heat=heat)
    assert asked == [0, 1, 2, 3, 4]
    text = page[page.index("Worst mistakes") :]
    three, one = text.index("base64,three"), text.index("base64,one")
    assert text.index("daisy: 3.png") < three < text.index("daisy: 1.png") < one
    assert page.count("base64,three") == 2 and "Grad-CAM" in page
    assert 'alt="Where the network looked for tulips"' in page
    assert "Grad-CAM" not in page_of(["daisy", "roses", "tulips"], names)


def test_a_network_without_maps_has_a_page(capsys):
    """A user's network may have no layer for Grad-CAM, and unreadable images have no map."""

    def explain(predictor, images):
        if len(images) > 1:
            raise UserError("it has no layers")
        return images

    source, predictor = (
        Pictures(["0.png", "gone.png", "2.png"]),
        SimpleNamespace(preprocess=np.asarray),
    )
    assert heat_maps(source, predictor, explain, [0, 1, 2]) == {}
    assert "the report has no heat maps: it has no layers" in capsys.readouterr().err
    assert list(heat_maps(source, predictor, explain, [1, 2])) == [2]


def test_pictures_for_tensorboard(monkeypatch):
    """The confusion matrix, and examples with their probabilities, except unreadable images."""
    drawn = []

    def keep(images, rows):
        drawn.extend(rows)
        return new_figure(1, 1, "")

    monkeypatch.setattr(pictures, "prediction_figure", keep)
    report = {"class_names": ["daisy", "roses", "tulips"], "confusion": np.eye(3, dtype=int)}
    rows = Rows(np.arange(5), LABELS, LOGITS)
    source = Pictures(["0.png", "1.png", "gone.png", "3.png", "4.png"])
    found = evaluation_pictures(report, rows, source, 0.875)
    assert {name: data[:4] for name, data in found.items()} == {
        "confusion matrix": b"\x89PNG",
        "example predictions": b"\x89PNG",
    }
    assert [caption for caption, _ in drawn] == [
        *("daisy: 0.png", "daisy: 1.png", "daisy: 3.png", "tulips: 4.png")
    ]
    assert drawn[1][1][0] == ("roses", pytest.approx(0.5)) and len(drawn[1][1]) == 3
    assert list(evaluation_pictures(report, None, source, 0.875)) == ["confusion matrix"]
