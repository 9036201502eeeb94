"""The report of an evaluation in a browser."""

import numpy as np
import pytest

from tests.tasks.classification.report_pages import NASTY, page_of

pytestmark = pytest.mark.browser
NAMES = [f"{i}.png" for i in range(5)]
ELSEWHERE = "http://127.0.0.1:9/"  # nothing listens there


@pytest.fixture
def opened(chromium, tmp_path):
    """A function that opens HTML from a file in a window, and lists what leaves the page."""
    contexts = []

    def open_page(html, width=1200):
        context = chromium.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page, left = context.new_page(), []
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or left.append(r.url))
        # Chromium also reports requests that the policy of the page stopped.
        page.on("requestfailed", lambda r: r.failure == "csp" and left.remove(r.url))
        page.on("dialog", lambda dialog: (left.append(dialog.message), dialog.dismiss()))
        path = tmp_path / "report.html"
        path.write_text(html, "utf-8")
        page.goto(path.as_uri())
        return page, left

    yield open_page
    for context in contexts:
        context.close()


def loaded(page):
    """Return the widths of all pictures, once each is decoded or has failed.

    Not `wait_for_function`, whose `eval` the policy of the page forbids.
    """
    page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager' })")
    page.evaluate("Promise.all([...document.images].map(i => i.decode().catch(() => 0)))")
    return page.evaluate("[...document.images].map(i => i.naturalWidth)")


def test_text_and_pictures_appear_and_nothing_leaves(opened):
    """Names from strangers are shown, run nothing, and the page requests nothing."""
    picture = f"<img src={ELSEWHERE}x.png onerror=alert(1)>"
    page, left = opened(page_of([NASTY, picture, "roses"], NAMES, network=picture, data=NASTY))
    assert all(width > 0 for width in loaded(page))
    assert page.locator("img").count() > 10
    assert page.get_by_text("3 of 5 images are classified correctly").is_visible()
    assert page.get_by_role("heading", name=picture).first.is_visible()
    assert page.get_by_role("row", name=NASTY.replace("\u202e", "\\u202e")).first.is_visible()
    assert page.evaluate("[...document.images].every(i => i.alt)")
    assert left == []


def test_what_leaves_a_page_is_noticed(opened):
    """Protects the test above: without the policy of the page, a request and a script are seen."""
    page, left = opened(f"<img src='{ELSEWHERE}x.png' onerror=\"alert('ran')\">")
    assert loaded(page) == [0]
    assert left == [f"{ELSEWHERE}x.png", "ran"]


def test_the_policy_stops_what_escaping_would_miss(opened):
    """A picture and a script that get into the page by a fault are not requested and not run."""
    html = page_of(["daisy", "roses", "tulips"], NAMES)
    assert html.count("<main>") == 1
    fault = f"<main><img src='{ELSEWHERE}x.png'><script>alert('ran')</script>"
    page, left = opened(html.replace("<main>", fault))
    assert loaded(page)[0] == 0
    assert left == []


def test_the_page_fits_a_phone_and_paper(opened):
    """Wide tables scroll inside the page, which itself does not scroll sideways, and it prints."""
    classes = [f"a class with a long name {i}" for i in range(10)]
    page, _ = opened(page_of(classes, NAMES, *many(10)), width=390)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.get_by_role("heading", name="Confusions", exact=True).is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


def many(classes):
    """Return logits and labels of five images of many classes."""
    logits = np.random.default_rng(0).normal(size=(5, classes))
    return logits, np.arange(5) % classes
