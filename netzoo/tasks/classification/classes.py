"""The classes of the data and of the weights that a run starts from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from chex import ArrayTree

from netzoo.errors import UserError
from netzoo.weights.class_names import load_class_names


def check_class_names(source: str, names: Sequence[str], workdir: Path | None) -> None:
    """Check that data have at least two classes, and those of the run in `workdir`, if any.

    Raises:
      UserError: There is one class, or the run has other classes or another order.
    """
    if len(names) < 2:
        raise UserError(
            f"{source} has the class {', '.join(names)} only; expected at least two. Each class of "
            "a folder:PATH is a sub-folder"
        )
    if workdir and (saved := load_class_names(workdir)) != names:
        raise UserError(
            f"{source} has the classes {', '.join(names)}; the run in {workdir} was trained on "
            f"{', '.join(saved)}, in this order. Labels would be mixed up: use data with the same "
            "class names in the same order"
        )


def reordered_head(variables: ArrayTree, order: Sequence[int]) -> ArrayTree:
    """Return variables whose classifier has its classes in another order.

    `order` lists, for each class, its place in the given variables.
    """

    def reordered(path: tuple[Any, ...], x: np.ndarray) -> np.ndarray:
        return x[..., order] if any(key.key == "logits" for key in path) else x

    return jax.tree_util.tree_map_with_path(reordered, variables)
