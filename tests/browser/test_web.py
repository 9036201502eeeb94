"""The folder of `netzoo export --format web` in Chromium: the same answers as in Python."""

import functools
import http.server
import io
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnx", reason="needs the extra onnx")

import reliability.network  # noqa: F401  registers the network
from netzoo.data.transforms import resize_and_center_crop
from netzoo.errors import UserError
from netzoo.export import web
from netzoo.export.check import Images
from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from netzoo.tasks.classification.predictor import Predictor
from reliability.hostile_images import contents, encoded, picture
from tests.export.conftest import PREPROCESSING, drawn
from tests.tasks.classification.report_pages import NASTY

pytestmark = pytest.mark.browser
NAMES = ("daisy", NASTY, "tulips")
TOLERANCE = 1e-4  # of a probability; ONNX Runtime computes in float32 on both sides
WAIT = 60_000  # milliseconds
SIZES = ((40, 60), (90, 70), (36, 36), (72, 108), (200, 133), (33, 300), (20, 30), (400, 300))
ORIENTATION = 0x0112  # of EXIF


def small_predictor(interpolation: str) -> Predictor:
    images = PREPROCESSING._replace(interpolation=interpolation)
    model = create_model("reliability_small", num_classes=len(NAMES))
    return Predictor(model, drawn(variable_shapes(model, 32)), images, NAMES, 8, temperature=0.5)


@pytest.fixture(scope="module")
def predictor():
    return small_predictor("area")


@pytest.fixture(scope="module")
def folder(predictor, tmp_path_factory):
    """The exported folder; tests skip where npm does not give the runtime."""
    pixels = np.stack([predictor.preprocess(np.asarray(picture(seed=i))) for i in range(3)])
    images = Images(pixels, ["0", "1", "2"], "3 images")
    out = tmp_path_factory.mktemp("web") / "flowers"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("npm_config_fetch_retries", "0")
        patch.setenv("npm_config_prefer_offline", "true")
        try:
            runtime = web.runtime_files(None)
        except UserError as error:
            pytest.skip(f"onnxruntime-web is missing: {error}")
        patch.setattr(web, "runtime_files", lambda package: runtime)
        web.write_web_folder(out, predictor, "reliability_small", NASTY, images, None)
    return out


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(folder):
    """The folder behind the server of `python -m http.server`."""
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def opened(chromium, address):
    """A function that opens the page in a window, and lists what it asks for."""
    contexts = []

    def open_page(**options):
        context = chromium.new_context(**options)
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page, requests = context.new_page(), []
        page.on("request", lambda r: requests.append(r.url))
        # Chromium also reports requests that the policy of the page stopped.
        page.on("requestfailed", lambda r: r.failure == "csp" and requests.remove(r.url))
        page.on("dialog", lambda dialog: (requests.append(dialog.message), dialog.dismiss()))
        page.goto(address)
        return page, requests

    yield open_page
    for context in contexts:
        context.close()


def classified(page, files: dict[str, bytes]) -> np.ndarray:
    """Return the probabilities of files that are chosen on the page."""
    kinds = {"png": "image/png", "jpg": "image/jpeg"}
    page.set_input_files(
        "#choose",
        [
            {"name": name, "mimeType": kinds[name.rpartition(".")[2]], "buffer": data}
            for name, data in files.items()
        ],
    )
    page.evaluate("queue")  # a promise, which is awaited
    found = {x["name"]: x["probabilities"] for x in page.evaluate("results")}
    return np.array([found[name] for name in files if name in found])


def png_files() -> dict[str, bytes]:
    """Return pictures in colour, in grey and with a palette; shrunk, enlarged and as they are."""
    pictures = [picture(*size, seed) for seed, size in enumerate(SIZES)]
    pictures += [picture(50, 80, 8).convert("L"), picture(80, 50, 9).quantize(64)]
    return {f"{i}.png": encoded(image, "PNG") for i, image in enumerate(pictures)}


def jpeg_files() -> dict[str, bytes]:
    """Return JPEGs: progressive, in grey, and turned in each of the eight ways of EXIF."""
    files = {
        "progressive.jpg": encoded(picture(120, 90, 20), "JPEG", progressive=True),
        "grey.jpg": encoded(picture(60, 90, 21).convert("L"), "JPEG"),
    }
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = turn
        files[f"turn{turn}.jpg"] = encoded(picture(60, 130, 22), "JPEG", exif=exif, quality=90)
    return files


def test_the_page_gives_the_probabilities_of_python(opened, predictor, address):
    """For ten PNG files; all requests go to the server of the folder."""
    page, requests = opened()
    files = png_files()
    found, expected = classified(page, files), predictor(list(files.values()))
    assert np.ptp(expected, axis=0).min() > 0.05  # otherwise, any constant would agree
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    other = small_predictor("bilinear")(list(files.values()))
    assert np.abs(other - expected).max() > 10 * TOLERANCE  # the comparison sees other pixels
    assert len(requests) > 3 and all(url.startswith(address) for url in requests)


def test_jpegs_give_the_probabilities_of_python(opened, predictor):
    """Chromium's decoder is libjpeg-turbo too, and turns pictures as EXIF says."""
    page, _ = opened()
    files = jpeg_files()
    found, expected = classified(page, files), predictor(list(files.values()))
    assert np.abs(expected[2:] - expected[2]).max() > 10 * TOLERANCE  # turning matters
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.real_data
def test_photographs_give_the_probabilities_of_python(opened, predictor):
    """Ten of the flower photographs, two of each class."""
    folder = os.environ.get("NETZOO_FLOWER_PHOTOS")
    if not folder:
        pytest.skip("NETZOO_FLOWER_PHOTOS does not name the folder of photographs")
    classes = sorted(path for path in Path(folder).iterdir() if path.is_dir())
    paths = [path for name in classes for path in sorted(name.glob("*.jpg"))[5:7]]
    assert len(paths) == 10
    page, _ = opened()
    found = classified(page, {path.name: path.read_bytes() for path in paths})
    np.testing.assert_allclose(found, predictor(paths), rtol=0, atol=TOLERANCE)


def test_transparency_lies_over_white(opened, predictor):
    """A browser may round mixed colours in another way, by one level of 256."""
    page, _ = opened()
    image = picture(60, 60, 30).point(lambda value: value // 3).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((60, 60)))
    files = {"clear.png": encoded(image, "PNG")}
    found, expected = classified(page, files), predictor(list(files.values()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.01)
    opaque = predictor([encoded(image.convert("RGB"), "PNG")])
    assert np.abs(opaque - expected).max() > 0.02


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic", "hamming"])
def test_pixels_are_those_of_python(opened, interpolation, crop_mode):
    """Shrunk by whole and other factors, enlarged, and extremely wide."""
    page, _ = opened()
    rng = np.random.default_rng(0)
    for height, width in ((72, 108), (50, 90), (36, 70), (20, 31), (10, 200), (36, 36)):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        values = {"resize_size": 36, "crop_size": 32, "interpolation": interpolation}
        values["crop_mode"] = crop_mode
        found = page.evaluate(
            "([width, height, data, values]) => [...resizeAndCrop("
            "{width, height, data: new Uint8Array(data)}, values).data]",
            [width, height, pixels.ravel().tolist(), values],
        )
        expected = resize_and_center_crop(pixels, 32, 32 / 36, interpolation, crop_mode)
        error = np.abs(np.array(found).reshape(expected.shape) - expected.astype(int))
        # Pillow computes in integers. OpenCV's sums in float32 depend on the processor, and its
        # builds without Intel's library enlarge in units of 1/2048.
        enlarged = min(height, width) < 36
        most = 0 if interpolation != "area" else 0.1 if enlarged else 1e-3
        assert error.max() <= 1 and (error > 0).mean() <= most, (height, width)


def test_names_are_text(opened):
    """Class names and titles from strangers run nothing."""
    page, requests = opened()
    asked = len(requests)
    shown = NASTY.replace("\u202e", "\\u202e")
    assert page.inner_text("h1") == shown
    classified(page, {"<img src=x onerror=alert(2)>.png": png_files()["0.png"]})
    assert page.locator(".card .class", has_text="alert(1)").inner_text() == shown
    assert page.locator(".card .file").inner_text() == "<img src=x onerror=alert(2)>.png"
    assert all(url.startswith("http://127.0.0.1") for url in requests[asked:])


def test_the_policy_stops_requests_to_elsewhere(opened):
    """Also those of a fault or of a changed runtime."""
    page, requests = opened()
    page.wait_for_function("() => document.getElementById('status').textContent === ''")
    page.evaluate("fetch('http://elsewhere.invalid/x').catch(() => 0)")
    page.evaluate("new Promise(r => { const i = new Image(); i.onerror = r; i.src = '//else.x/' })")
    assert all(url.startswith("http://127.0.0.1") for url in requests)


def test_bad_files_get_a_message(opened):
    """The pictures beside them get their classes."""
    page, _ = opened()
    hostile = contents()
    bad = {name: hostile[name] for name in ("zero_bytes.jpg", "text.jpg", "bomb.png")}
    found = classified(page, {**bad, "good.jpg": hostile["good.jpg"]})
    assert len(found) == 1
    errors = page.locator(".card.bad")
    assert errors.count() == len(bad)
    for name in bad:
        assert "cannot read the file" in errors.filter(has_text=name).inner_text()
    assert page.inner_text("#status") == ""


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_pictures_can_be_dropped_and_pasted(opened, event):
    """Anywhere on the page."""
    page, _ = opened()
    page.evaluate(
        """([event, bytes]) => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(bytes)], "it.png", {type: "image/png"}));
            const options = {bubbles: true, dataTransfer: files, clipboardData: files};
            const Kind = event === "drop" ? DragEvent : ClipboardEvent;
            document.querySelector("h1").dispatchEvent(new Kind(event, options));
        }""",
        [event, list(png_files()["0.png"])],
    )
    page.evaluate("queue")
    assert page.locator(".card").inner_text().endswith("it.png")
    assert len(page.evaluate("results")) == 1


def test_a_phone_can_take_a_photograph(opened):
    """The page fits its width, and the table of results can be saved."""
    page, _ = opened(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    assert page.locator("#take").get_attribute("capture") == "environment"
    assert page.get_by_text("Take a photograph").is_visible()
    classified(page, png_files())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    with page.expect_download() as download:
        page.click("#save")
    table = io.StringIO(download.value.path().read_text("utf-8"))
    assert len(table.readlines()) == 1 + len(png_files())
