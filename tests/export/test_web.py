"""The folder with a page for browsers; tests/browser/test_web.py opens it."""

import base64
import hashlib
import io
import json
import re
import shutil
import tarfile

import pytest

from netzoo.cli import export as command
from netzoo.errors import UserError
from netzoo.export import web
from netzoo.export.classifier import FileClassifier
from tests.export.conftest import NAMES, PREPROCESSING

pytest.importorskip("onnxruntime", reason="needs the extra onnx")


def package(path, members):
    """Write a file as `npm pack` does."""
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture
def runtime(tmp_path):
    """A package with the names of the real one."""
    return package(tmp_path / "runtime.tgz", {name: name.encode() for name in web._PARTS})


def test_the_folder_is_complete(predictor, images, runtime, tmp_path):
    """The network gives probabilities for pixels; the licence of the runtime is there."""
    out = tmp_path / "flowers"
    found = web.write_web_folder(out, predictor, "reliability_small", "Flowers", images, runtime)
    assert 0 < found.relative < 1e-5
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    parts = (*web._PARTS.values(), "LICENSE", "ThirdPartyNotices.txt")
    assert written == {"index.html", "network.onnx", *(f"onnxruntime/{name}" for name in parts)}
    assert (out / "onnxruntime/ort.wasm.bundle.min.js").read_text().endswith(".bundle.min.mjs")
    assert "Microsoft" in (out / "onnxruntime/LICENSE").read_text()
    assert FileClassifier(out / "network.onnx").output == "probabilities"
    with pytest.raises(UserError, match="exists; give --out"):
        web.write_web_folder(out, predictor, "reliability_small", "Flowers", images, runtime)


def test_the_page_describes_the_network_and_allows_its_own_script_only(predictor):
    """The policy names the hashes of style and script; texts cannot end the script."""
    html = web.web_page(predictor, "reliability_small", "</script><b>&")
    about = json.loads(re.search(r'id="about">(.*?)</script>', html)[1])
    assert about["title"] == "</script><b>&"
    assert about["class_names"] == list(NAMES)
    assert about["preprocessing"] == json.loads(json.dumps(PREPROCESSING._asdict()))
    assert html.count("<b>") == 0
    for tag in ("style", "script"):
        [content] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src" in html and f"'sha256-{digest}'" in html
    assert "http-equiv" in html and "default-src 'none'" in html


def test_files_that_are_not_the_package(tmp_path):
    """One message, whatever is wrong with the file."""
    other = package(tmp_path / "other.tgz", {"package/package.json": b"{}"})
    text = tmp_path / "text.tgz"
    text.write_text("no archive")
    for path in (other, text):
        with pytest.raises(UserError, match=r"is not a file of `npm pack onnxruntime-web@"):
            web.runtime_files(path)


@pytest.mark.parametrize("script", [None, "exit 3"])
def test_without_npm_the_error_says_what_to_do(script, monkeypatch, tmp_path):
    """The same if npm fails, for example without a network."""
    npm = None
    if script:
        npm = tmp_path / "npm"
        npm.write_text(f"#!/bin/sh\n{script}\n")
        npm.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: npm and str(npm))
    reason = "exit status 3" if script else "npm is missing"
    with pytest.raises(UserError, match=rf"{reason}.*--onnxruntime-web FILE"):
        web.runtime_files(None)


def test_options_of_the_page_are_refused_elsewhere(tmp_path):
    for options in (["--title", "Flowers"], ["--onnxruntime-web", "x.tgz"]):
        arguments = ["--weights", "x", "--format", "onnx", "--out", str(tmp_path / "x.onnx")]
        with pytest.raises(UserError, match="are for --format web"):
            command.main([*arguments, *options])
