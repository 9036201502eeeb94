"""The page in Chromium: results appear, mistakes are messages, no request leaves the machine."""

import contextlib
import sys
from urllib.parse import urlsplit

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="needs the extra demo")
pytest.importorskip("sentencepiece", reason="needs the extra translate")

from netzoo.demo.classifiers import ImageRun
from netzoo.demo.translators import TextRun
from netzoo.serving import address
from reliability.hostile_images import contents
from tests.conftest import tiny_config, tiny_translation_config
from tests.demo.translator import Backwards
from tests.inspection.small import small_images, small_predictor

pytestmark = pytest.mark.browser
HERE = {"127.0.0.1", "localhost", "::1"}
WAIT = 30_000  # milliseconds
_connections: list[set] = []  # where the audit hook writes; hooks cannot be removed


def _record(event: str, arguments: tuple) -> None:
    if event == "socket.connect" and _connections and isinstance(arguments[1], tuple):
        _connections[-1].add(arguments[1][0])
    if event == "socket.getaddrinfo" and _connections:
        _connections[-1].add(arguments[0])


sys.addaudithook(_record)


@pytest.fixture(scope="module")
def connected():
    """The hosts that this process connects to, or whose address it asks for."""
    _connections.append(set())
    yield _connections[-1]
    _connections.pop()


@pytest.fixture(scope="module")
def opened(connected, pictures, tmp_path_factory):
    """Open a page with two image runs and a translator; return its address."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "uploads"))
        from netzoo.demo import page

        runs = [
            ImageRun(folder / name, tiny_config(pictures), small_predictor(hidden))
            for name, hidden in (("first", 0), ("second", 4))
        ]
        runs.append(TextRun(folder / "numbers", tiny_translation_config(), Backwards()))
        with contextlib.closing(address.bind("127.0.0.1", 0)) as socket:
            port = socket.getsockname()[1]
        built = page.create_page(runs, folder)
        page.open_page(built, "127.0.0.1", port, folder)
        yield f"http://127.0.0.1:{port}"
        built.close(verbose=False)


@pytest.fixture
def requested():
    """The hosts that the browser asked."""
    return set()


@pytest.fixture
def tab(chromium, opened, requested):
    context = chromium.new_context()

    def record(request):
        if not request.url.startswith(("data:", "blob:")):
            requested.add(urlsplit(request.url).hostname)

    context.on("request", record)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.goto(opened)
    page.wait_for_selector("#picture input[type=file]", state="attached")
    yield page
    context.close()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(small_images(1)[0]).save(path)
    return path


def upload(tab, path) -> None:
    tab.set_input_files("#picture input[type=file]", path)


def heat_map(tab) -> str:
    """Return the address of the heat map, which differs for other pixels."""
    return tab.wait_for_selector("#heat-map img").get_attribute("src")


def scores(tab) -> list[str]:
    """Return the classes with their percentages."""
    return tab.locator("#scores .confidence-set").all_inner_texts()


def clear(tab) -> None:
    """Remove the picture, and wait until the results have gone."""
    tab.click("#picture button[aria-label='Remove Image']")
    tab.wait_for_function(
        "!document.querySelector('#heat-map img') && !document.querySelector('#message .error')"
    )


def choose(tab, element: str, option: str) -> None:
    tab.click(f"#{element} input")
    tab.click(f"#{element} [role=option]:has-text('{option}')")


def test_a_picture_gets_its_classes_and_heat_map(tab, photo, requested, connected):
    upload(tab, photo)
    assert heat_map(tab)
    found = scores(tab)
    assert sorted(line.split()[0] for line in found) == ["daisy", "roses", "tulips"]
    assert all(line.endswith("%") for line in found)
    assert requested == {"127.0.0.1"}
    assert connected <= HERE


def test_the_test_sees_requests_to_other_hosts(tab, requested):
    """Protects the tests above and below: a request to another host is recorded."""
    tab.evaluate("fetch('http://elsewhere.invalid/x').catch(() => 0)")
    assert requested == {"127.0.0.1", "elsewhere.invalid"}


def test_another_layer_and_another_run_give_other_results(tab, photo):
    upload(tab, photo)
    first, before = heat_map(tab), scores(tab)
    choose(tab, "layer", "stem")
    tab.wait_for_function(f"document.querySelector('#heat-map img')?.src != '{first}'")
    assert scores(tab) == before
    choose(tab, "run", "second")
    tab.wait_for_function("document.querySelector('#layer input').value == 'stage1/block1'")
    tab.wait_for_function(
        "text => document.querySelector('#scores .confidence-set').innerText != text",
        arg=before[0],
    )


def test_an_example_is_a_picture(tab, requested):
    tab.click("#examples button >> nth=1")
    assert heat_map(tab)
    assert tab.wait_for_selector("#picture img")
    assert requested == {"127.0.0.1"}


READ = ("good.jpg", "cmyk.jpg", "arithmetic.jpg")  # Chromium itself cannot show the last one
REFUSED = (
    *("truncated.jpg", "zero_bytes.jpg", "text.jpg", "bomb.png"),
    *("float.tiff", "postscript.jpg"),
)


def test_hostile_files_get_a_message_or_classes(tab, tmp_path):
    """Some files of `reliability.hostile_files`, the last of them readable."""
    files = contents()
    for name in (*REFUSED, *READ):
        path = tmp_path / name
        path.write_bytes(files[name])
        upload(tab, path)
        found = tab.wait_for_selector("#message .error, #heat-map img")
        assert ("Cannot decode the image" in found.inner_text()) == (name in REFUSED), name
        clear(tab)


def test_a_bad_file_replaces_the_results_by_its_message(tab, photo, tmp_path):
    upload(tab, photo)
    heat_map(tab)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no <b>picture</b>")
    clear(tab)
    upload(tab, bad)
    assert "unknown image format" in tab.wait_for_selector("#message .error").inner_text()
    assert tab.query_selector("#heat-map img") is None
    assert scores(tab) == []


def test_a_sentence_gets_its_translation_and_attention(tab, requested, connected):
    tab.click("button[role=tab]:has-text('Sentences')")
    tab.fill("#sentence textarea", "one two three")
    tab.click("#translate")
    assert tab.wait_for_selector("#attention img")
    assert tab.input_value("#translated textarea") == "eerht owt eno"
    tab.fill("#sentence textarea", " ")
    tab.click("#translate")
    assert "blank" in tab.wait_for_selector("#text-message .error").inner_text()
    assert requested == {"127.0.0.1"}
    assert connected <= HERE
