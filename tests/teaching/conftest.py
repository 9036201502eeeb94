"""The drawn flowers without TFDS, and the quick form of a lesson."""

import functools
from pathlib import Path

import pytest

from netzoo.data.sources import open as sources
from netzoo.data.sources.synthetic.builder import CLASS_NAMES, draw_example
from netzoo.teaching import Setting, load_lesson
from netzoo.teaching.pictures import TRAIN, VALIDATION

ROOT = Path(__file__).parents[2]
LESSONS, RESULTS = ROOT / "lessons", ROOT / "results" / "lessons"

# The quick forms of these lessons train for ten seconds or more; those of the others are faster.
SLOW_LESSONS = {"test_alexnet", "test_hybrid_vit", "test_mobilenet_v3", "test_vit"}


@pytest.hookimpl(tryfirst=True)  # before pytest chooses the tests of a tier
def pytest_collection_modifyitems(items):
    """Mark the tests that use `quick_numbers` of a slow lesson as slow."""
    for item in items:
        if item.path.stem in SLOW_LESSONS and "quick_numbers" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@functools.cache
def drawn_example(index):
    return draw_example("train", index)


class DrawnSource:
    """The first 400 drawn flowers to train on, and the next 100 to validate on."""

    name, class_names = "drawn", CLASS_NAMES

    def __init__(self, place, split):
        self.split, self.indices = split, {TRAIN: range(400), VALIDATION: range(400, 500)}[split]

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        pixels, label = drawn_example(self.indices[index])
        return {"image": pixels, "label": label, "name": str(index)}


@pytest.fixture(scope="session")
def drawn():
    """The specification of a source of drawn flowers."""
    sources.SOURCES["drawn"] = DrawnSource
    yield "drawn:"
    del sources.SOURCES["drawn"]


@pytest.fixture(scope="session")
def quick_numbers(drawn):
    """A function that returns a lesson, by name, and the numbers of its quick form."""

    @functools.cache
    def measured(name):
        lesson = load_lesson(str(LESSONS / f"{name}.py"))
        return lesson, lesson.measure(Setting(quick=True, source=drawn))

    return measured
