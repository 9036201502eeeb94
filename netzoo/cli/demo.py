"""Opens a page in the browser to try runs: the classes and Grad-CAM of a picture, translations.

netzoo demo --workdir runs/v2 runs/resnet50 [--host 127.0.0.1] [--port 7860]

Runs of both tasks may be given together. The page loads nothing from other hosts, and pictures and
sentences do not leave this machine. Ctrl-C closes the page.
"""

import argparse
import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from netzoo.cli import launch
from netzoo.config import default_config, load_config
from netzoo.console import say
from netzoo.errors import UserError, note
from netzoo.paths import run_path
from netzoo.workdir import WEIGHTS


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = launch.parser("demo", __doc__, epilog=None, needs_workdir=False)
    parser.add_argument("runs", nargs="*", metavar="DIR", help="folders of more runs")
    parser.add_argument("--checkpoint", choices=WEIGHTS, default="last", help="weights of the runs")
    local = "address to listen on (default: 127.0.0.1, this machine only)"
    parser.add_argument("--host", default="127.0.0.1", help=local)
    parser.add_argument("--port", type=int, default=7860, help="default: 7860; 0 takes a free one")
    launch.run(parser, arguments, _demo, read=lambda options: default_config())


def _demo(config: ConfigDict, options: argparse.Namespace) -> None:
    folders = [options.workdir, *options.runs] if options.workdir else options.runs
    if not folders:
        raise UserError("expected at least one run; pass --workdir DIR")
    if options.overridden:
        raise UserError("netzoo demo shows runs as they are; it takes no --config.KEY")
    if not 0 <= options.port < 1 << 16:
        raise UserError(f"--port {options.port}; expected 0 to 65535")
    with tempfile.TemporaryDirectory(prefix="netzoo_demo_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder, "uploads"))
        page = _page_module()
        loaded = [_loaded(run_path(path), options.checkpoint) for path in folders]
        from netzoo.serving import address

        with contextlib.closing(address.bind(options.host, options.port)) as opened:
            url, port = address.url_of(opened), opened.getsockname()[1]
            runs = [_compiled(*one) for one in loaded]
            built = page.create_page(runs, Path(folder))
        page.open_page(built, options.host, port, Path(folder))
        say(f"open {url} in a browser; Ctrl-C closes the page")
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        try:
            ended.wait()
        finally:
            built.close(verbose=False)


def _page_module() -> Any:
    try:
        from netzoo.demo import page
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("netzoo"):
            raise
        raise UserError(
            f"netzoo demo needs the package {error.name}: pip install 'netzoo[demo]'"
        ) from error
    return page


def _loaded(workdir: Path, checkpoint: str) -> tuple[Path, ConfigDict, Any]:
    """Return a run with its Predictor or Translator."""
    from netzoo.mesh import check_devices
    from netzoo.tasks import load_predictor

    check_devices()
    config = load_config(workdir)
    return workdir, config, load_predictor(config, workdir, checkpoint)


def _compiled(workdir: Path, config: ConfigDict, predictor: Any) -> Any:
    from netzoo.demo.classifiers import ImageRun
    from netzoo.demo.translators import TextRun
    from netzoo.tasks.classification.predictor import Predictor

    note(f"compiling {config.model.name} ({workdir.name})")
    kind = ImageRun if isinstance(predictor, Predictor) else TextRun
    return kind(workdir, config, predictor)
