"""Readers can copy what README and the pages print: each block runs, in order, in their folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import netzoo
from netzoo.weights import CATALOGUE, to_torch
from tests.pages.blocks import KINDS, blocks_of
from tests.weights.drawn import draw, shapes_of
from tests.weights.pth_files import write_state_dict

ROOT = Path(__file__).parents[2]
ALL_PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "results/README.md"])
# The pages that take a reader from nothing to an end.
JOURNEYS = (
    *("README", "photographs", "florist", "python", "notebook", "network", "translation"),
    *("scaling", "inspection", "tour.ipynb", "lessons/README"),
)
FLOWERS = ("dandelion", "daisy", "tulips", "sunflowers", "roses")


def test_the_notebook_is_small():
    """Ten cells of code with their outputs, where a photograph is a JPEG file alone."""
    text = (ROOT / "docs/tour.ipynb").read_text("utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 10 and len(text) < 400_000
    shown = [output.get("data", {}) for cell in cells for output in cell["outputs"]]
    assert sum("image/jpeg" in data for data in shown) == 2
    assert not [data for data in shown if {"image/jpeg", "image/png"} <= {*data}]


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.stem)
def test_blocks_can_be_read(page):
    """Every page: Python and shell are without mistakes of syntax, and skipping has a reason."""
    blocks = blocks_of(page)
    lines = page.read_text("utf-8").splitlines()
    assert 2 * len(blocks) == sum(line.startswith("```") for line in lines)
    assert sum(block.kind is not None for block in blocks) == sum("<!--" in line for line in lines)
    for block in blocks:
        place = f"{page.name}:{block.line}"
        assert block.language in ("python", "sh", "text"), place
        assert block.kind in (None, *KINDS), place
        if block.language == "python":
            compile(block.code, place, "exec")
        elif block.language == "sh":
            subprocess.run(["bash", "-n", "-c", block.code], check=True)


def test_reference_has_every_public_name():
    """A new function of the package is not forgotten in docs/api.md."""
    text = (ROOT / "docs/api.md").read_text("utf-8")
    assert [name for name in netzoo.__all__ if f"netzoo.{name}\n" not in text] == []


def test_no_block_is_indented():
    """A fenced block has a language, which colours it, and a button that copies it."""
    for page in ALL_PAGES:
        fenced, before = False, ""
        for line in page.read_text("utf-8").splitlines():
            fenced ^= line.startswith("```")
            assert fenced or before or not line.startswith("    "), f"{page.name}: {line}"
            before = line


def _small(path, x):
    """Return kernels with small values around 0, so that the logits of 50 layers are finite."""
    return (x - np.float32(0.5)) / 30 if path[-1].key == "kernel" else x


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The environment of a reader who has the published weights, with drawn numbers in them."""
    home = tmp_path_factory.mktemp("home")
    cache = home / "cache"
    (cache / "weights").mkdir(parents=True)
    (cache / "xla").symlink_to(os.environ["JAX_COMPILATION_CACHE_DIR"], target_is_directory=True)
    for name in ("mobilenet_v2.tv_in1k", "resnet50.tv2_in1k"):
        published = CATALOGUE[name]
        _, shapes = shapes_of(published.model, 1000)
        variables = jax.tree_util.tree_map_with_path(_small, draw(shapes))
        arrays = to_torch(variables, published.model, project="torchvision")
        write_state_dict(cache / "weights" / published.address.rsplit("/", 1)[1], arrays)
    return {
        **os.environ,
        "HOME": str(home),
        "NETZOO_CACHE": str(cache),
        "PYTHONPATH": str(ROOT),
        "TFDS_DATA_DIR": str(home / "tensorflow_datasets"),
    }


def photographs(folder, class_names, count):
    rng = np.random.default_rng(0)
    for name in class_names:
        color = rng.integers(60, 200, 3)
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.clip(rng.normal(color, 40, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.jpg")


def sentences(folder):
    folder.mkdir()
    for split, count in (("train", 300), ("val", 20), ("test_2016_flickr", 12)):
        for language, words in (("en", "a red dog sees"), ("de", "ein roter Hund sieht")):
            lines = [f"{words} {number} {number % 7}" for number in range(count)]
            (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", JOURNEYS)
def test_page_runs(name, reader, tmp_path):
    """From an empty folder, with the reader's own files, through every block of a page."""
    photographs(tmp_path / "photos", ("cats", "dogs"), 15)
    photographs(tmp_path / "flowers", FLOWERS, 12)
    photographs(tmp_path / "flower_photos", FLOWERS, 14)
    photographs(tmp_path, ("holiday",), 3)
    photographs(tmp_path / "older", ("2025",), 3)
    (tmp_path / "photo.jpg").write_bytes((tmp_path / "photos/cats/0.jpg").read_bytes())
    sentences(tmp_path / "multi30k")
    prepare = ["netzoo", "prepare", "tf_flowers", "--from", "flowers"]
    file = name if name.endswith(".ipynb") else f"{name}.md"
    page = ROOT / file if name == "README" else ROOT / "docs" / file
    for command in (prepare, ["tests.pages.blocks", str(page)]):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=reader,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout[-5000:]
