"""A lesson: its file, its setting, its claims and its record."""

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from matplotlib.figure import Figure

from netzoo.config.overrides import packaged_files
from netzoo.errors import UserError, unknown_name
from netzoo.paths import user_path
from netzoo.teaching.pictures import Pictures, load_pictures

# The numbers of a lesson by name, such as {"loss/relu": [seeds, steps]}.
Numbers = dict[str, np.ndarray]
Verdict = Literal["shown", "shown weakly", "not shown at this scale"]
Value = TypeVar("Value")

_LESSONS = "netzoo.lessons"  # the folder lessons/ of the repository, once netzoo is installed
_FUNCTIONS = ("measure", "claims", "draw")


class Claim(NamedTuple):
    """A claim of a paper, and what the lesson measured.

    Attributes:
      claim: The claim, one sentence.
      measured: The numbers for or against it, one sentence.
      verdict: Whether the numbers show it.
    """

    claim: str
    measured: str
    verdict: Verdict


def verdict(differences: np.ndarray | float) -> Verdict:
    """Judge the differences of the seeds, which are positive if the claim holds.

    A claim is shown if it holds with every seed, and shown weakly if it only holds in the mean.
    """
    differences = np.atleast_1d(differences)
    if (differences > 0).all():
        return "shown"
    return "shown weakly" if differences.mean() > 0 else "not shown at this scale"


def by_seed(values: np.ndarray) -> str:
    """Return the values of the seeds as a text such as `120, 150, never`, for an infinite one."""
    return ", ".join("never" if np.isinf(value) else f"{value:g}" for value in values)


@dataclass(frozen=True)
class Setting:
    """The form in which a lesson measures, and the data that it reads.

    Attributes:
      quick: Whether to take only seconds, by fewer steps, smaller networks and one seed.
      source: The data to train on; for images, see `netzoo.data.open_source`.
      data_dir: Folder of prepared data sets, or None for the default.
    """

    quick: bool
    source: str
    data_dir: str | None = None

    def choose(self, full: Value, quick: Value) -> Value:
        """Return `full`, or `quick` in the quick form."""
        return quick if self.quick else full

    def pictures(self, image_size: int, train: int | None = None) -> Pictures:
        """Return images to train on and to validate on, at `image_size` pixels.

        `train` limits the number of training images. The quick form reads few images.
        """
        limits = (train or 400, 100) if self.quick else (train, None)
        return load_pictures(self.source, image_size, *limits, data_dir=self.data_dir)


@dataclass(frozen=True)
class Lesson:
    """A lesson that has been read from its file.

    Attributes:
      name: The name of its file, without the folder and the extension.
      title: One sentence: what the network taught.
      text: The rest of the docstring: the figure of the paper, and what is different here.
      source: The data that it trains on unless the user names others.
      measure: Returns the numbers; takes seconds in the quick form, and minutes otherwise.
      claims: Judges the numbers.
      draw: Returns figures of the numbers, by name. The first one stands for the lesson.
    """

    name: str
    title: str
    text: str
    source: str
    measure: Callable[[Setting], Numbers]
    claims: Callable[[Mapping[str, np.ndarray]], Sequence[Claim]]
    draw: Callable[[Mapping[str, np.ndarray]], Mapping[str, Figure]]


def list_lessons() -> list[str]:
    """Return the names of netzoo's lessons."""
    return [*packaged_files(_LESSONS)]


def load_lesson(name: str) -> Lesson:
    """Read a lesson.

    Args:
      name: The name of one of netzoo's lessons, or the path of any lesson's file.

    Raises:
      UserError: The lesson does not exist, or a function is missing.
    """
    path = user_path(name)
    if not path.is_file():
        if name not in (known := packaged_files(_LESSONS)):
            raise unknown_name("lesson", name, known)
        path = known[name]
    module = _module(path)
    if missing := [f for f in _FUNCTIONS if not callable(getattr(module, f, None))]:
        raise UserError(
            f"{path} is not a lesson: expected the functions {', '.join(_FUNCTIONS)}, missing "
            f"{', '.join(missing)}"
        )
    title, _, text = (module.__doc__ or path.stem).partition("\n")
    source = getattr(module, "SOURCE", "synthetic_flowers")
    functions: dict[str, Any] = {name: getattr(module, name) for name in _FUNCTIONS}
    return Lesson(path.stem, title.strip(), text.strip(), source, **functions)


def _module(path: Path) -> ModuleType:
    """Run a file as a module, and add it to `sys.modules`, where Flax looks for networks."""
    name = f"netzoo_lesson_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
