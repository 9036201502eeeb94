"""A folder with a page that classifies pictures in a browser, without a request to elsewhere.

    index.html      the page, with its style and its script
    network.onnx    the network: pixels uint8 to probabilities
    onnxruntime/    ONNX Runtime for browsers, from the npm package onnxruntime-web; its licence

The page decodes pictures with the browser and resizes them with `templates/resize.js`, which
computes the pixels of `netzoo.data.transforms`. Any server of static files can serve the folder.
"""

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import netzoo
from netzoo.errors import UserError, printable
from netzoo.export.check import Difference, Images
from netzoo.export.program import optional
from netzoo.export.write import export_classifier
from netzoo.files import new_folder, read_bytes, write_bytes, write_text
from netzoo.tasks.classification.predictor import Predictor

NETWORK_FILE, PAGE_FILE, RUNTIME_FOLDER = "network.onnx", "index.html", "onnxruntime"
RUNTIME = "onnxruntime-web@1.30.0"  # the version that the tests ran
# Files of the package, and their names in the folder: every server knows the type of .js files.
_PARTS = {
    "package/dist/ort.wasm.bundle.min.mjs": "ort.wasm.bundle.min.js",
    "package/dist/ort-wasm-simd-threaded.wasm": "ort-wasm-simd-threaded.wasm",
}
_NOTICES = ("LICENSE", "ThirdPartyNotices.txt")  # of onnxruntime, from the same sources
_MOST_BYTES = 1 << 28  # of the package, and of a file in it
_SECONDS = 600  # for npm


def write_web_folder(
    folder: Path, predictor: Predictor, model: str, title: str, images: Images, runtime: Path | None
) -> Difference:
    """Write the folder, and return the largest difference between network and file over `images`.

    Args:
      folder: The new folder.
      predictor: The network.
      model: The name of the network in the registry.
      title: The heading of the page.
      images: See `netzoo.export.check`.
      runtime: The file of `npm pack onnxruntime-web`; None gets it with npm.

    Raises:
      UserError: The folder exists; or see `runtime_files` and `export_classifier`. The folder is
        then not written.
    """
    if folder.exists():
        raise UserError(f"{folder} exists; give --out the name of a new folder")
    parts = runtime_files(runtime)
    with new_folder(folder) as partial:
        network = partial / NETWORK_FILE
        found = export_classifier(
            predictor, model, network, "onnx", images, with_preprocessing=True
        )
        (partial / RUNTIME_FOLDER).mkdir()
        for name, data in parts.items():
            write_bytes(partial / RUNTIME_FOLDER / name, data)
        write_text(partial / PAGE_FILE, web_page(predictor, model, title))
    return found


def web_page(predictor: Predictor, model: str, title: str) -> str:
    """Return the page as HTML. Its policy allows no other script and no request to other hosts."""
    loader = jinja2.PackageLoader("netzoo.export")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined
    )
    style, *scripts = (
        Markup(loader.get_source(environment, name)[0])
        for name in ("web.css", "resize.js", "web.js")
    )
    script = Markup("\n").join(scripts)
    policy = (
        f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' {_hash(script)}; "
        f"style-src {_hash(style)}; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    about: dict[str, Any] = {
        "title": printable(title),
        "model": printable(model),
        "class_names": [printable(name) for name in predictor.class_names],
        "preprocessing": predictor.preprocessing._asdict(),
        "producer": f"netzoo {netzoo.__version__}",
    }
    page = environment.get_template("web.html")
    return page.render(about=about, policy=Markup(policy), style=style, script=script) + "\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def runtime_files(package: Path | None) -> dict[str, bytes]:
    """Return the files of ONNX Runtime for browsers, with its licence, by their names.

    `package` is the file of `npm pack onnxruntime-web`; None gets it with npm.

    Raises:
      UserError: npm is not installed or fails, or the file is another one.
    """
    source = Path(optional("onnxruntime", "onnx").__file__ or "").parent
    data = _packed() if package is None else read_bytes(package, _MOST_BYTES)
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member, name in _PARTS.items():
                content = archive.extractfile(member)
                files[name] = content.read(_MOST_BYTES) if content else b""
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        reason = printable(" ".join(str(error).split()))
        raise UserError(
            f"{package or RUNTIME} is not a file of `npm pack {RUNTIME}`: {reason}"
        ) from None
    return files | {name: read_bytes(source / name) for name in _NOTICES}


def _packed() -> bytes:
    """Return the package, by npm."""
    npm = shutil.which("npm")
    advice = (
        f"run `npm pack {RUNTIME}` where npm and the network are available, and give the file that "
        "it writes: --onnxruntime-web FILE"
    )
    if npm is None:
        raise UserError(f"the page needs ONNX Runtime for browsers, and npm is missing; {advice}")
    with tempfile.TemporaryDirectory(prefix="netzoo-") as folder:
        command = [npm, "pack", RUNTIME, "--silent", "--pack-destination", folder]
        try:
            done = subprocess.run(command, capture_output=True, cwd=folder, timeout=_SECONDS)
            failed = f"exit status {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            failed = f"no answer within {_SECONDS} seconds"
        packages = list(Path(folder).glob("*.tgz"))
        if failed or not packages:
            raise UserError(f"`npm pack {RUNTIME}` failed ({failed or 'no file'}); {advice}")
        return read_bytes(packages[0], _MOST_BYTES)
