"""The class names of a run, of netzoo's own files, and of ImageNet."""

import functools
from pathlib import Path

from netzoo.errors import UserError, printable
from netzoo.files import read_text
from netzoo.json_files import parse_json, read_json
from netzoo.paths import run_path
from netzoo.weights.formats.read import OWN, read_metadata

CLASSES_FILE = "classes.json"
IMAGENET_CLASSES = 1000  # of ImageNet-1k


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """Return the names of the 1,000 classes of ImageNet-1k, in the order of every project's logits.

    Source: the first lemma of each synset in WordNet 3.0; `imagenet_classes.txt` has its licence.
    """
    lines = read_text(Path(__file__).with_name("imagenet_classes.txt")).splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


def class_names_of(name_or_path: str | Path) -> tuple[str, ...] | None:
    """Return the class names of a run or of netzoo's own file; None if they are unknown.

    Raises:
      UserError: The names are damaged.
    """
    path = run_path(name_or_path)
    return load_class_names(path) if (path / CLASSES_FILE).is_file() else stored_class_names(path)


def load_class_names(workdir: Path) -> tuple[str, ...]:
    """Read the class names of a run, in label order.

    Raises:
      UserError: `workdir` has no class names, or they are damaged.
    """
    path = workdir / CLASSES_FILE
    try:
        return tuple(read_json(path, [str]))
    except (OSError, UserError) as error:
        raise UserError(
            f"cannot read the class names of the run: {error}; use a run of image classification"
        ) from None


def stored_class_names(path: Path) -> tuple[str, ...] | None:
    """Return the class names that `save_safetensors` wrote into a file, in the order of the logits.

    The result is None if the file or the names in it are missing.

    Raises:
      UserError: The names are damaged.
    """
    metadata = read_metadata(path) if path.is_file() else {}
    if metadata.get("format") != OWN or "class_names" not in metadata:
        return None
    try:
        return tuple(parse_json(metadata["class_names"].encode(), [str]))
    except ValueError as error:
        raise UserError(printable(f"{path} has damaged class names: {error}")) from None
