"""Requests per second and latency of `netzoo serve`, with batches and without.

python -m benchmarks.serve --workdir runs/v2 --seconds 10 --repeats 3 --out results/serve

Each client sends one photograph, waits for the answer, and sends the photograph again. Two servers
run at the same time and are measured alternately: one with batches of up to 16 images, one with
single images.
The clients are threads of this process, and share the cores with the servers.
"""

import contextlib
import http.client
import io
import itertools
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from benchmarks import report
from benchmarks.contestants import ROOT, spread
from netzoo.console import markdown_table, say

SERVERS = {"batches of 16": ("--max-batch=16",), "single images": ("--max-batch=1", "--wait-ms=0")}
CLIENTS = (1, 8, 32)
MOST_REQUESTS = 20_000  # of one measurement
KEY = ("server", "clients", "served")


class Measured(NamedTuple):
    """One measurement: requests per second, and latencies in milliseconds."""

    requests_per_second: float
    median_ms: float
    p95_ms: float


def photograph(width: int = 500, height: int = 375) -> bytes:
    """Return a JPEG with as many bytes as a photograph of its size."""
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


@contextlib.contextmanager
def serving(arguments: Sequence[str]) -> Iterator[int]:
    """Start a server on a free port, and yield the port when it is ready."""
    command = [sys.executable, "-m", "netzoo", "serve", "--port=0", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if not line.startswith("ready: "):
            sys.exit(f"error: the server ended with status {process.wait()}")
        yield int(re.search(r":(\d+),", line).group(1))
    finally:
        process.terminate()
        process.wait()


def measure(port: int, clients: int, seconds: float, image: bytes) -> Measured:
    """Let a number of clients send requests for some time.

    Raises:
      SystemExit: A request was not answered with status 200.
    """
    latencies: list[float] = []
    wrong: list[object] = []
    numbers, start, end = itertools.count(), time.perf_counter(), time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            while time.perf_counter() < end and next(numbers) < MOST_REQUESTS and not wrong:
                began = time.perf_counter()
                connection.request("POST", "/predict?top_k=1", image)
                response = connection.getresponse()
                text = response.read()
                latencies.append(1000 * (time.perf_counter() - began))
                if response.status != 200:
                    wrong.append(text)
        except OSError as error:
            wrong.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        sys.exit(f"error: a request was not answered: {wrong[0]!r}")
    median, p95 = np.percentile(latencies, [50, 95])
    took = time.perf_counter() - start
    return Measured(len(latencies) / took, float(median), float(p95))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = report.flags("serve", __doc__, repeats=3)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--workdir", type=Path, help="run to serve")
    which.add_argument("--weights", help="published weights to serve")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    options = parser.parse_args(arguments)
    served = f"--workdir={options.workdir}" if options.workdir else f"--weights={options.weights}"
    image = photograph()
    found: dict[tuple[str, int], list[Measured]] = {}
    with contextlib.ExitStack() as stack:
        ports = {
            name: stack.enter_context(serving([served, *more])) for name, more in SERVERS.items()
        }
        for port in ports.values():
            measure(port, 1, 1.0, image)
        for _ in range(options.repeats):
            for clients, (name, port) in itertools.product(CLIENTS, ports.items()):
                measured = measure(port, clients, options.seconds, image)
                found.setdefault((name, clients), []).append(measured)
    lines = [line_of(name, clients, mine, options) for (name, clients), mine in found.items()]
    report.Lines(options.out, "serve.csv", KEY).add(lines)
    say(table(lines))
    report.print_machine(lines)


def line_of(name: str, clients: int, mine: Sequence[Measured], options) -> report.Line:
    """Return the line of the CSV file: medians over the repetitions, and the range of the rate."""
    rates, medians, tails = zip(*mine, strict=True)
    rate, slowest, fastest = spread(rates)
    return {
        "server": name,
        "clients": clients,
        "served": options.weights or options.workdir.name,
        "requests_per_second": rate,
        "slowest": slowest,
        "fastest": fastest,
        "median_ms": spread(medians)[0],
        "p95_ms": spread(tails)[0],
        "seconds": options.seconds,
        "repeats": options.repeats,
        **report.machine(),
    }


def table(lines: Sequence[report.Line]) -> str:
    """Return lines of the CSV file as a Markdown table with a row for each number of clients."""
    found = {(line["server"], line["clients"]): line for line in lines}
    servers = sorted({server for server, _ in found}, reverse=True)  # single images first
    head = ["clients"]
    for server in servers:
        head += [f"{server}, requests/s (range)", "median, 95th percentile, ms"]
    rows = []
    for clients in sorted({clients for _, clients in found}):
        cells = [str(clients)]
        for server in servers:
            line = found[server, clients]
            low, high = line["slowest"], line["fastest"]
            cells.append(f"{line['requests_per_second']:.0f} ({low:.0f} to {high:.0f})")
            cells.append(f"{_milliseconds(line['median_ms'])}, {_milliseconds(line['p95_ms'])}")
        rows.append(cells)
    return markdown_table([(title, True) for title in head], rows)


def _milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


if __name__ == "__main__":
    main()
