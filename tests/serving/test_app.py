"""What the server answers: images, bad input, too much input, and clients that go away."""

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("httpx2", reason="starlette's test client needs it")

import h11
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.testclient import TestClient

from netzoo.serving.app import create_app
from netzoo.serving.batcher import Batcher
from netzoo.serving.limits import Bounded, Limits
from netzoo.tasks.classification.predictor import Predictor

RGB = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
LIMITS = Limits(request_bytes=100_000, images=3, requests=2)


def encoded(name: str, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (12, 9), RGB[name]).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def app(colours):
    app = create_app(colours, Batcher(colours, largest=4, wait=0.0), "colours", LIMITS)
    with TestClient(app, raise_server_exceptions=False):  # its end closes the batcher
        yield app


@pytest.fixture
def client(app):
    return TestClient(app, raise_server_exceptions=False)


def post(client, *images: bytes, query: str = ""):
    files = [("image", (f"{n}.png", data)) for n, data in enumerate(images)]
    return client.post(f"/predict{query}", files=files)


def test_images_of_a_form_are_answered_in_order(client, colours):
    answer = post(client, encoded("blue"), encoded("red"), encoded("green"), query="?top_k=2")
    assert answer.status_code == 200
    images = answer.json()["images"]
    assert [image["name"] for image in images] == ["0.png", "1.png", "2.png"]
    assert [image["predictions"][0]["class"] for image in images] == ["blue", "red", "green"]
    assert {len(image["predictions"]) for image in images} == {2}
    expected = colours(encoded("blue"))[0].max()
    assert images[0]["predictions"][0]["probability"] == pytest.approx(float(expected), rel=1e-6)


def test_thresholds_decide_where_an_image_may_have_several_classes(colours):
    """The server names the classes that `netzoo predict` names, whatever `top_k`."""
    pixels = encoded("red")
    high, low = np.array([0.5, 0.5, 0.5]), np.array([0.5, 0.0, 0.0])
    for thresholds, expected in ((high, ["red"]), (low, ["red", "green", "blue"])):
        images, names = colours.preprocessing, colours.class_names
        predictor = Predictor(
            *(colours.model, colours.variables, images, names, 4), thresholds=thresholds
        )
        app = create_app(predictor, Batcher(predictor, largest=4, wait=0.0), "colours", LIMITS)
        with TestClient(app) as client:
            (image,) = post(client, pixels, query="?top_k=1").json()["images"]
        assert {p["class"] for p in image["predictions"]} == {*expected}


@pytest.mark.parametrize("kind", ["image/jpeg", "application/x-www-form-urlencoded", None])
def test_a_body_without_a_form_is_an_image(kind, client):
    """The command curl --data-binary sends the second type."""
    headers = {"content-type": kind} if kind else {}
    answer = client.post("/predict", content=encoded("green", "JPEG"), headers=headers)
    (image,) = answer.json()["images"]
    assert (image["name"], image["predictions"][0]["class"]) == ("", "green")
    assert len(image["predictions"]) == 3  # all, because the default of five is more


FORM_TYPE = "multipart/form-data"
FORM = {"content-type": f"{FORM_TYPE}; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize(
    ("status", "text", "request_"),
    [
        (400, "the request has no body", {}),
        (400, "Cannot decode the image (4 bytes): unknown image format", {"content": b"text"}),
        (400, "Cannot decode the image", {"content": encoded("red")[:50]}),
        (400, "image 1 of 1, '\\x1b[1m': Cannot decode", {"files": {"f": ("\x1b[1m", b"?")}}),
        (400, "the field 'image' is a text", {"data": {"image": "a.png"}, "files": {"f": b"?"}}),
        (400, "Too many files", {"files": [("f", encoded("red"))] * 4}),
        (400, "Missing boundary", {"content": b"--", "headers": {"content-type": FORM_TYPE}}),
        (400, "ends before its last boundary", {"content": PART + b"12", "headers": FORM}),
        (400, "the form has no file", {"content": b"--x--\r\n", "headers": FORM}),
        (413, "more than 100,000 bytes", {"content": bytes(100_001)}),
        (413, "more than 100,000 bytes", {"content": iter([bytes(60_000)] * 2)}),
        (422, "top_k: Input should be greater than or equal to 1", {"params": {"top_k": 0}}),
        (422, "top_k: Input should be a valid integer", {"params": {"top_k": "all"}}),
    ],
)  # fmt: skip
def test_bad_requests_get_one_sentence(status, text, request_, client):
    answer = client.post("/predict", **request_)
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    assert text in answer.json()["error"]
    assert "Traceback" not in answer.text and "\n" not in answer.json()["error"]


def test_other_paths_and_methods_are_named(client):
    unknown, method = client.get("/predictions"), client.get("/predict")
    assert (unknown.status_code, method.status_code) == (404, 405)
    assert "unknown path /predictions; expected POST /predict" in unknown.json()["error"]
    assert "/predict does not accept GET" in method.json()["error"]
    assert method.headers["allow"] == "POST"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_bomb_is_refused(client, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12 * 9 - 1)
    answer = post(client, encoded("red"))
    assert answer.status_code == 400
    assert "declares 12 x 9 pixels, over the limit of 107" in answer.json()["error"]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12 * 9)
    assert post(client, encoded("red")).status_code == 200


def test_an_error_of_the_network_shows_no_details(colours):
    """The network fails only after its compilation, like a device that is lost."""
    batcher = Batcher(colours, largest=1)
    batcher._predictors = {1: None}
    app = create_app(colours, batcher, "colours", LIMITS)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = post(client, encoded("red"))
    assert answer.status_code == 500
    assert "NoneType" not in answer.text and "Traceback" not in answer.text


def test_health_and_documentation_load_nothing_from_elsewhere(client):
    assert client.get("/healthz").json() == {"status": "ready", "model": "colours", "classes": 3}
    assert "/predict" in client.get("/openapi.json").json()["paths"]
    page = client.get("/docs").text
    assert "swagger-ui-bundle.js" in page and "//" not in page.replace("<!--", "")
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def http_scope(path: str = "/predict", headers=()) -> dict:
    return {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": list(headers), "http_version": "1.1",
        "scheme": "http", "root_path": "", "server": ("test", 80), "client": ("test", 1),
    }  # fmt: skip


class Sent(list):
    """The messages of an answer."""

    async def __call__(self, message):
        self.append(message)

    @property
    def status(self) -> int:
        return self[0]["status"]


async def chunks(*messages):
    for message in messages:
        yield message


def test_a_full_server_answers_503_and_recovers():
    async def scenario():
        started, go = asyncio.Event(), asyncio.Event()

        async def slow(scope, receive, send):
            started.set()
            await go.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        bounded = Bounded(slow, Limits(requests=1))
        receive = chunks({"type": "http.request", "body": b""}).__anext__
        first, second, health, third = Sent(), Sent(), Sent(), Sent()
        task = asyncio.create_task(bounded(http_scope(), receive, first))
        await started.wait()
        await asyncio.wait_for(bounded(http_scope(), receive, second), 30)
        assert second.status == 503
        assert (b"retry-after", b"1") in second[0]["headers"]
        probe = asyncio.create_task(bounded(http_scope("/healthz"), receive, health))
        go.set()
        await asyncio.gather(task, probe)
        await bounded(http_scope(), receive, third)
        assert [first.status, health.status, third.status] == [200, 200, 200]

    asyncio.run(scenario())


def test_an_answer_after_the_end_of_a_connection_is_dropped():
    """Protects the log from a traceback for each request that ends in damaged chunks."""

    async def closed(message):
        raise h11.LocalProtocolError("can't handle event type Response")

    async def scenario():
        receive = chunks({"type": "http.request", "body": b""}).__anext__
        bounded = Bounded(JSONResponse({}), Limits(requests=1))
        for _ in range(2):
            await bounded(http_scope(), receive, closed)

    asyncio.run(scenario())


def test_a_body_that_does_not_arrive_gives_its_place_back():
    async def scenario():
        async def reads(scope, receive, send):
            await receive()

        async def never():
            await asyncio.Future()

        bounded = Bounded(reads, Limits(requests=1, upload_seconds=0.0))
        for _ in range(2):
            with pytest.raises(HTTPException, match="did not arrive within 0 s") as error:
                await bounded(http_scope(), never, Sent())
            assert error.value.status_code == 408

    asyncio.run(scenario())


def test_a_client_that_hangs_up_gives_its_place_back(app):
    async def scenario():
        for _ in range(LIMITS.requests + 1):
            receive = chunks(
                {"type": "http.request", "body": encoded("red"), "more_body": True},
                {"type": "http.disconnect"},
            ).__anext__
            answer = Sent()
            await app(http_scope(), receive, answer)
            assert answer.status == 400  # nobody reads it

    asyncio.run(scenario())
