"""Sends hostile requests to `netzoo serve`, and reports the answers.

python -m reliability.hostile_requests --minutes 2 --out results/reliability

The tool starts a server with a small network on the loopback. The requests are every picture of
`reliability.hostile_images` (as bytes and in a form), requests that break HTTP or the limits, and
valid requests with random changes, for the given time. The seed and the number of a random request
determine its changes. An answer with a status below 500, status 503, or an end of the connection is
right. A status 500, an answer that is not HTTP, a traceback, more than 20 s, or a server that ends
is a failure, and the exit status is 1.
"""

import argparse
import contextlib
import csv
import http.client
import json
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from netzoo.errors import printable
from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from netzoo.weights import save_safetensors
from netzoo.weights.published import Preprocessing
from reliability.child import FAILED
from reliability.hostile_images import contents, encoded, picture
from reliability.mutate import mutate

SECONDS = 20.0  # for one answer
MAX_BYTES, CLOSED = 8 << 20, "closed"
BOUNDARY = b"netzoo-boundary"


class Answered(NamedTuple):
    """The answers to a request, or to all random requests with the same status."""

    kind: str
    request: str
    status: str
    tries: int
    failures: int
    slowest_s: float
    message: str


@contextlib.contextmanager
def server(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen, int, Path]]:
    """Serve a small network with drawn weights; yield process, port and its standard error."""
    file, log = folder / "small.safetensors", folder / "stderr.txt"
    settings = {"num_classes": 5, "width_multiplier": 0.25}
    random, shapes = (
        np.random.default_rng(0),
        variable_shapes(create_model("mobilenet_v1", **settings), 32),
    )
    variables = jax.tree.map(lambda x: random.uniform(0.5, 1, x.shape).astype(x.dtype), shapes)
    names = {
        "class_names": ["daisy", "dandelion", "roses", "sunflowers", "tulips"],
        "preprocessing": Preprocessing((127.5,) * 3, (127.5,) * 3, 36, 32, "area"),
    }
    save_safetensors(file, variables, "mobilenet_v1", **names, width_multiplier=0.25)
    command = [sys.executable, "-m", "netzoo", "serve", "--weights", str(file), "--port=0"]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        line = process.stdout.readline()
        if not line.startswith("ready: "):
            sys.exit(f"error: the server did not start: {log.read_text()}")
        yield process, int(re.search(r":(\d+),", line).group(1)), log
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def post(body: bytes, kind: str = "application/octet-stream", path: str = "/predict") -> bytes:
    """Return a request with a body."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def form(*files: tuple[str, bytes]) -> bytes:
    """Return a request with a form, whose file names are escaped as browsers do."""
    body = b""
    for name, data in files:
        quoted = name.replace('"', "%22").replace("\n", "%0A").encode("utf-8", "surrogateescape")
        head = b'Content-Disposition: form-data; name="image"; filename="' + quoted + b'"'
        body += b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n"
    body += b"--" + BOUNDARY + b"--\r\n"
    return post(body, f"multipart/form-data; boundary={BOUNDARY.decode()}")


def broken_requests() -> dict[str, bytes]:
    """Return requests that break HTTP, a form or a limit, by name."""
    image = encoded(picture(), "JPEG")
    whole, head = form(("a.jpg", image)), b"POST /predict HTTP/1.1\r\nHost: x\r\n"
    chunks = head + b"Transfer-Encoding: chunked\r\n\r\n"
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    return {
        "nothing": b"",
        "zeros": bytes(1000),
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        "half a line": b"GET /hea",
        "unknown method": b"BREW /predict HTTP/1.1\r\nHost: x\r\n\r\n",
        "path up": b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        "static path up": get.replace(b"/healthz", b"/static-offline-docs/..%2f..%2fa") + b"\r\n",
        "path of 60 kB": b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        "header of 1 MB": get + b"X-A: " + b"a" * (1 << 20) + b"\r\n\r\n",
        "100,000 headers": get + b"X-A: b\r\n" * 100_000 + b"\r\n",
        "headers without end": get + b"X-A: " + b"a" * (8 << 20),
        "control characters": b"GET /\x1b[31m\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        "escaped path": b"GET /%1b%5b31m%0d%0aSet-Cookie:a HTTP/1.1\r\nHost: x\r\n\r\n",
        "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
        "negative length": head + b"Content-Length: -1\r\n\r\n" + image,
        "length of 10^30": head + b"Content-Length: 1" + 30 * b"0" + b"\r\n\r\n" + image,
        "two lengths": head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + image,
        "length is a word": head + b"Content-Length: many\r\n\r\n" + image,
        "length and chunks": chunks.replace(b"Host", b"Content-Length: 4\r\nHost") + b"0\r\n\r\n",
        "bad chunk": chunks + b"ZZ\r\n" + image,
        "chunk of 2^62": chunks + b"4000000000000000\r\n" + image,
        "no body": head + b"Content-Length: 0\r\n\r\n",
        "truncated upload": whole[: len(whole) // 2],
        "truncated image": form(("a.jpg", image[: len(image) // 2])),
        "form without end": post(
            b"--x\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\n" + image,
            "multipart/form-data; boundary=x",
        ),
        "form without boundary": post(image, "multipart/form-data"),
        "boundary of 60 kB": post(image, "multipart/form-data; boundary=" + "b" * 60_000),
        "form of text": post(b"--x\r\n\r\na\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        "17 files": form(*[("a.jpg", image)] * 17),
        "200,000 empty parts": post(b"--x\r\n\r\n" * 200_000, "multipart/form-data; boundary=x"),
        "part header of 4 MB": form(("a" * (4 << 20), image)),
        "one byte too many": post(bytes(MAX_BYTES + 1)),
        "too many bytes in chunks": chunks
        + (b"100000\r\n" + bytes(1 << 20) + b"\r\n") * 9
        + b"0\r\n\r\n",
        "compressed body": post(image).replace(b"Host: x", b"Host: x\r\nContent-Encoding: gzip", 1),
        "top_k of 10^5000": post(image, path="/predict?top_k=1" + 5000 * "0"),
        "top_k is a word": post(image, path="/predict?top_k=%1b"),
        "upgrade": get + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "five at once": 5 * (get + b"\r\n"),
    }  # fmt: skip


def is_whole(request: bytes) -> bool:
    """Return whether a server may answer; otherwise it waits for the rest of the request."""
    head, end, body = request.partition(b"\r\n\r\n")
    if re.search(rb"(?i)transfer-encoding: *chunked", head):
        return body.endswith(b"0\r\n\r\n")
    length = re.search(rb"(?i)\ncontent-length: *(\d{1,18})\r?\n", head + b"\r\n")
    return bool(end) and len(body) >= (int(length.group(1)) if length else 0)


def exchange(port: int, request: bytes) -> tuple[str, str, float]:
    """Send a request, and hang up unless it is whole; return status, text and seconds."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as client:
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(request)
                if not is_whole(request) or not select.select([client], [], [], SECONDS / 20)[0]:
                    client.shutdown(socket.SHUT_WR)
            with http.client.HTTPResponse(client) as response:
                response.begin()
                text = response.read().decode("utf-8", "replace")
                status = str(response.status)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            status, text = CLOSED, ""
        except (http.client.HTTPException, TimeoutError, OSError) as error:
            status, text = FAILED, f"{type(error).__name__}: {error}"
    return status, text, time.monotonic() - began


def is_failure(status: str, text: str) -> bool:
    """Return whether an answer breaks what the server promises."""
    wrong = status == FAILED or (status not in (CLOSED, "503") and int(status) >= 500)
    return wrong or "Traceback" in text or ("{" not in text and status == "200")


def sentence(text: str) -> str:
    """Return the sentence of an error, or the start of another answer."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return json.loads(text)["error"]
    return text


def one_by_one(port: int) -> Iterator[Answered]:
    """Send every picture as bytes and in a form, and every broken request."""
    requests = [("HTTP", name, request) for name, request in broken_requests().items()]
    for name, data in contents().items():
        requests += [("bytes", name, post(data)), ("form", name, form((name, data)))]
    for kind, name, request in requests:
        status, text, seconds = exchange(port, request)
        failed = is_failure(status, text)
        yield Answered(kind, name, status, 1, failed, seconds, sentence(text)[:200])


def at_random(port: int, seed: int, seconds: float, failures: Path) -> Iterator[Answered]:
    """Change valid requests at random for some time; yield a line for each status."""
    images = [encoded(picture(seed=n), kind) for n, kind in enumerate(("JPEG", "PNG", "WEBP"))]
    chunked = b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n"
    chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(images[0]), images[0])
    valid = [*map(post, images), form(("a.jpg", images[0]), ("b.png", images[1])), chunked]
    valid += [form((f"{n}.jpg", image)) for n, image in enumerate(images)]
    valid += [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", post(images[0], path="/predict?top_k=2")]
    found: dict[str, Answered] = {}
    began, number = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        random = np.random.Generator(np.random.Philox(key=[seed, 0], counter=[0, 0, 0, number]))
        request = mutate(valid[random.integers(len(valid))], valid, random)
        status, text, took = exchange(port, request)
        failed = is_failure(status, text)
        if failed:
            failures.mkdir(parents=True, exist_ok=True)
            (failures / f"request_{number}.input").write_bytes(request)
        first = Answered("random", f"seed {seed}", status, 0, 0, 0.0, sentence(text)[:200])
        _, _, _, tries, bad, slowest, _ = before = found.get(status, first)
        found[status] = before._replace(
            tries=tries + 1, failures=bad + failed, slowest_s=max(slowest, took)
        )
        number += 1
    yield from (found[status] for status in sorted(found))


def after_all(process: subprocess.Popen, port: int, log: Path) -> Answered:
    """Check that the server still answers, kept its memory, and ends with status 0."""
    good = form(("good.jpg", encoded(picture(), "JPEG")))
    began = time.monotonic()
    status, *_ = exchange(port, good)
    memory = Path(f"/proc/{process.pid}/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", memory).group(1)) >> 10
    process.send_signal(signal.SIGTERM)
    ended, said = process.wait(2 * SECONDS), log.read_text()
    failed = status != "200" or ended != 0 or "Traceback" in said
    message = f"status {ended} after SIGTERM, peak memory {peak:,} MiB"
    return Answered("end", "good.jpg", status, 1, failed, time.monotonic() - began, message)


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m reliability.hostile_requests")
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=2.0, help="of random requests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/reliability"))
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="requests_") as folder,
        server(Path(folder), f"--max-bytes={MAX_BYTES}") as (process, port, log),
    ):
        rows = list(one_by_one(port))
        kept = options.out / "request_failures"
        rows += at_random(port, options.seed, 60 * options.minutes, kept)
        rows.append(after_all(process, port, log))
        said = log.read_text()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "hostile_requests.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(Answered._fields)
        for row in rows:
            cells = row._replace(failures=int(row.failures), slowest_s=f"{row.slowest_s:.2f}")
            table.writerow([printable(x) if isinstance(x, str) else x for x in cells])
    for row in rows:
        if row.failures or row.kind in ("random", "end"):
            print(*(printable(str(cell)) for cell in row), sep="  ")
    failed, tries = (sum(getattr(row, name) for row in rows) for name in ("failures", "tries"))
    if failed:
        print(said[-3000:])
    print(f"{tries:,} requests, {failed} failures; {path}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
