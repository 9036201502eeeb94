"""`netzoo serve`: mistakes are one message before the port opens, and SIGTERM loses no request."""

import http.client
import json
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")

from netzoo.cli import serve
from netzoo.config import save_config
from netzoo.errors import UserError
from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from netzoo.serving import address, app, batcher, server
from netzoo.serving.limits import Limits
from netzoo.tasks.classification.predictor import Predictor
from netzoo.weights import save_safetensors
from netzoo.weights.published import Preprocessing
from tests.conftest import tiny_config, tiny_translation_config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected either --workdir"),
        (["--workdir=a", "--weights=b"], "expected either --workdir"),
        (["--workdir=nowhere"], "nowhere"),
        (["--weights=mobilenet_v2.tv_in1"], "mobilenet_v2.tv_in1k"),
        (["--weights=x", "--config.seed=1"], "not of --weights"),
        (["--weights=x", "--max-batch=0"], "--max-batch 0; expected at least 1"),
        (["--weights=x", "--wait-ms=-1"], "--wait-ms -1; expected 0 to 10,000"),
        (["--weights=x", "--port=65536"], "--port 65536; expected 0 to 65535"),
    ],
)
def test_mistakes_are_one_message(arguments, message, monkeypatch):
    monkeypatch.setattr(address, "bind", lambda *_: pytest.fail("the port was opened"))
    with pytest.raises(UserError) as error:
        serve.main(arguments)
    assert message in str(error.value)


def test_a_run_of_another_task_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(address, "bind", lambda *_: pytest.fail("the port was opened"))
    save_config(tiny_translation_config(), tmp_path)
    with pytest.raises(UserError):
        serve.main(["--workdir", str(tmp_path)])


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in ("netzoo.serving.app", "netzoo.serving.server"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(
        UserError, match=r"needs the package fastapi: pip install 'netzoo\[serve\]'"
    ):
        serve.main(["--weights=x"])


def test_a_taken_port_is_an_error_before_compilation(colours, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "from_run", lambda *_: colours)
    monkeypatch.setattr(Predictor, "with_batch_size", lambda *_: pytest.fail("compiled"))
    save_config(tiny_config("unused"), tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot open port {port} of 127.0.0.1: Address"):
            serve.main(["--workdir", str(tmp_path), f"--port={port}"])


def test_every_option_reaches_the_server(colours, tmp_path, monkeypatch):
    got = {}

    def record(name, result=None):
        return lambda *arguments: got.update({name: arguments}) or result

    monkeypatch.setattr(Predictor, "from_run", record("run", colours))
    monkeypatch.setattr(batcher, "Batcher", record("batcher"))
    monkeypatch.setattr(app, "create_app", record("app"))
    monkeypatch.setattr(server, "run", record("server"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    save_config(tiny_config("unused"), tmp_path)
    serve.main(
        f"--workdir {tmp_path} --checkpoint best --port 0 --max-batch 3 --wait-ms 2 --threads 4 "
        "--max-bytes 5 --max-images 6 --max-pixels 7 --queue 8".split()
    )
    got["server"][1].close()
    assert got["run"][1] == "best"
    assert got["batcher"] == (colours, 3, 0.002)
    limits = Limits(request_bytes=5, images=6, requests=8)
    assert got["app"][2:] == (f"reliability_small ({tmp_path.name})", limits, 4)
    assert Image.MAX_IMAGE_PIXELS == 7


@pytest.mark.parametrize(("platform", "largest"), [("cpu", 1), ("gpu", 16)])
def test_batches_are_for_accelerators(platform, largest, colours, tmp_path, monkeypatch):
    """A CPU gains little from batches, and compiles each size."""
    got = []
    monkeypatch.setattr(Predictor, "from_run", lambda *_: colours)
    monkeypatch.setattr(batcher, "Batcher", lambda _, most, wait: got.append(most))
    monkeypatch.setattr(app, "create_app", lambda *_: None)
    monkeypatch.setattr(server, "run", lambda _, opened, ready: opened.close())
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    save_config(tiny_config("unused"), tmp_path)
    serve.main(["--workdir", str(tmp_path), "--port=0"])
    assert got == [largest]


def uploading(port: int, body: bytes) -> socket.socket:
    """Send the first half of a request, and wait until the server reads its body."""
    client = socket.create_connection(("127.0.0.1", port), timeout=60)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    client.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert client.recv(1 << 16).startswith(b"HTTP/1.1 100")
    client.sendall(body[: len(body) // 2])
    return client


@pytest.mark.slow  # 20 s: a process with JAX
def test_a_process_answers_what_it_accepted_before_sigterm(pictures, tmp_path):
    """The service manager's signal loses no request, and the status is 0."""
    file, names = tmp_path / "v1.safetensors", ["daisy", "roses"]
    model = create_model("mobilenet_v1", num_classes=2, width_multiplier=0.25)
    rng = np.random.default_rng(0)
    shapes = variable_shapes(model, 32)
    variables = jax.tree.map(lambda x: rng.uniform(0.5, 1, x.shape).astype(x.dtype), shapes)
    preprocessing = Preprocessing((127.5,) * 3, (127.5,) * 3, 32, 32, "area")
    options = {"preprocessing": preprocessing, "class_names": names, "width_multiplier": 0.25}
    save_safetensors(file, variables, "mobilenet_v1", **options)
    command = ["-m", "netzoo", "serve", "--weights", str(file), "--port=0", "--max-batch=2"]
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("ready: http://127.0.0.1:")
        port = int(line.split(",")[0].rpartition(":")[2])
        image = next((pictures / "test").rglob("*.png")).read_bytes()
        with uploading(port, image) as client:
            uploading(port, image).close()  # a client that hangs up
            process.send_signal(signal.SIGTERM)
            client.sendall(image[len(image) // 2 :])
            response = http.client.HTTPResponse(client)
            response.begin()
            (answer,) = json.loads(response.read())["images"]
            assert (response.status, len(answer["predictions"])) == (200, 2)
        assert process.wait(60) == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=60)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    expected = Predictor.from_weights(file).with_batch_size(1)(image)[0].max()
    assert answer["predictions"][0]["probability"] == pytest.approx(float(expected), abs=1e-6)
