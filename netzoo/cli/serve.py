"""Serves the network of a run, or published weights, over HTTP.

netzoo serve --workdir runs/v2 [--host 127.0.0.1] [--port 8000]
netzoo serve --weights mobilenet_v2.tv_in1k
curl -F image=@photo.jpg 'http://127.0.0.1:8000/predict?top_k=3'

POST images to /predict. GET /healthz says whether the server is ready, and /docs documents both.
SIGTERM ends the server after it has answered the requests that it accepted.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from netzoo.cli import launch
from netzoo.config import default_config, load_config
from netzoo.console import say
from netzoo.errors import UserError, note
from netzoo.paths import run_path
from netzoo.workdir import WEIGHTS

_MAX_BATCH, _MAX_PIXELS = 16, 50_000_000


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = launch.parser("serve", __doc__, needs_workdir=False)
    parser.add_argument("--weights", help="published name or file, instead of --workdir")
    parser.add_argument("--checkpoint", choices=WEIGHTS, default="last", help="weights of the run")
    local = "address to listen on (default: 127.0.0.1, this machine only)"
    parser.add_argument("--host", default="127.0.0.1", help=local)
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    batches = parser.add_argument_group("batches")
    most = "images per batch (default: 1 on CPU, else 16)"
    batches.add_argument("--max-batch", type=int, help=most)
    waits = "milliseconds that an image waits for images being decoded (default: 5)"
    batches.add_argument("--wait-ms", type=float, default=5.0, help=waits)
    _number(batches, "--threads", 2, "threads that decode images")
    limits = parser.add_argument_group("limits")
    _number(limits, "--max-bytes", 32 << 20, "bytes of a request")
    _number(limits, "--max-images", 16, "images in a request")
    _number(limits, "--max-pixels", _MAX_PIXELS, "pixels of an image")
    _number(limits, "--queue", 64, "requests at once; others get status 503")
    launch.run(parser, arguments, _serve, read=_config_of)


def _number(group: argparse._ArgumentGroup, option: str, default: int, meaning: str) -> None:
    group.add_argument(option, type=int, default=default, help=f"{meaning} (default: {default:,})")


def _config_of(options: argparse.Namespace) -> ConfigDict:
    """Check the options, and return the configuration of the run, or a default for weights."""
    if bool(options.workdir) == bool(options.weights):
        raise UserError("expected either --workdir with a run, or --weights with a published name")
    numbers = ("max_batch", "threads", "max_bytes", "max_images", "max_pixels", "queue")
    for name in numbers:
        if (number := getattr(options, name)) is not None and number < 1:
            option = name.replace("_", "-")
            raise UserError(f"--{option} {number}; expected at least 1")
    if not 0 <= options.wait_ms <= 10_000:
        raise UserError(f"--wait-ms {options.wait_ms:g}; expected 0 to 10,000 milliseconds")
    if not 0 <= options.port < 1 << 16:
        raise UserError(f"--port {options.port}; expected 0 to 65535")
    return load_config(options.workdir) if options.workdir else default_config()


def _serve(config: ConfigDict, options: argparse.Namespace) -> None:
    try:
        from netzoo.serving import server
        from netzoo.serving.app import create_app
        from netzoo.serving.batcher import Batcher, batch_sizes
        from netzoo.serving.limits import Limits
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("netzoo"):
            raise
        raise UserError(
            f"netzoo serve needs the package {error.name}: pip install 'netzoo[serve]'"
        ) from error
    import jax
    from PIL import Image

    from netzoo.mesh import check_devices
    from netzoo.serving import address
    from netzoo.tasks.classification.predictor import Predictor

    check_devices()
    Image.MAX_IMAGE_PIXELS = options.max_pixels  # the decoder's limit, for this process
    if options.weights:
        launch.refuse_overrides(options)
        predictor = Predictor.from_weights(options.weights)
        title = Path(options.weights).name  # clients need not know the folder
    else:
        workdir = run_path(options.workdir)
        predictor = Predictor.from_run(workdir, options.checkpoint, config)
        title = f"{config.model.name} ({workdir.name})"
    opened = address.bind(options.host, options.port)
    largest = options.max_batch or (1 if jax.default_backend() == "cpu" else _MAX_BATCH)
    sizes = ", ".join(map(str, batch_sizes(largest)))
    note(f"compiling {title} for batches of {sizes}")
    batcher = Batcher(predictor, largest, options.wait_ms / 1000)
    limits = Limits(options.max_bytes, options.max_images, options.queue)
    app = create_app(predictor, batcher, title, limits, options.threads)
    url = address.url_of(opened)
    server.run(app, opened, lambda: say(f"ready: {url}, documented at {url}/docs"))
