"""Small, deterministic stand-ins for a photograph collection."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")


def jpeg(seed: int, height: int = 20, width: int = 28) -> bytes:
    """A JPEG whose pixels depend on `seed`."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def write_classes(root: Path, class_names=FLOWERS, count: int = 4, first_seed: int = 0) -> Path:
    """Write `count` images in each class folder below `root`; return `root`."""
    for number, class_name in enumerate(class_names):
        folder = root / class_name
        folder.mkdir(parents=True)
        for index in range(count):
            seed = first_seed + number * count + index
            (folder / f"{seed:04d}.jpg").write_bytes(jpeg(seed))
    return root


@pytest.fixture
def flowers(tmp_path) -> Path:
    """A folder of five classes with four images each, and a licence file."""
    root = write_classes(tmp_path / "flower_photos")
    (root / "LICENSE.txt").write_text("All photographs are noise.")
    return root


class MemorySource:
    """A source of images whose pixels equal the example index."""

    name, split, class_names = "memory", "train", ("even", "odd")

    def __init__(self, length: int, height: int = 12, width: int = 16):
        self.reads = 0
        self._shape = (height, width, 3)
        self._length = length

    def __len__(self):
        return self._length

    def __getitem__(self, index):
        self.reads += 1
        buffer = io.BytesIO()
        Image.fromarray(np.full(self._shape, index, np.uint8)).save(buffer, "PNG")
        return {"image": buffer.getvalue(), "label": index % 2, "name": f"memory {index}"}


@pytest.fixture
def memory_source():
    """Return `MemorySource`; its length must be below 256."""
    return MemorySource
