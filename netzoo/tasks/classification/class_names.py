"""The class names of a run and of netzoo's own files."""

from pathlib import Path

from netzoo.errors import UserError
from netzoo.json_files import read_json
from netzoo.paths import run_path
from netzoo.weights.origin import stored_class_names

CLASSES_FILE = "classes.json"


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
