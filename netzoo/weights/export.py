"""Exports variables to other projects' names and to netzoo's own files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
from chex import ArrayTree
from safetensors.numpy import save

from netzoo.errors import UserError, unknown_name
from netzoo.files import replacing
from netzoo.models.registry import create_model
from netzoo.paths import user_path
from netzoo.weights.families import layouts
from netzoo.weights.published import Preprocessing
from netzoo.weights.state_dict import to_tensors


def to_torch(
    variables: ArrayTree, model: str, project: str = "torchvision", **options
) -> dict[str, np.ndarray]:
    """Convert variables to the tensor names and axis orders of another project.

    `load_weights` reverses the conversion exactly. BatchNorm's `num_batches_tracked` is absent;
    PyTorch's `load_state_dict` does not need it.

    The variables are those of `create_model(model, **options)`.

    Raises:
      UserError: The project's names for the network are unknown.
    """
    module = create_model(model, **options)
    known = layouts(module)
    if project not in known:
        raise unknown_name(f"project with names for {model}", project, known)
    return to_tensors(variables, known[project](module, variables))


def save_safetensors(
    path: str | Path,
    variables: ArrayTree,
    model: str,
    project: str | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] | None = None,
    **options: Any,
) -> None:
    """Write variables to a .safetensors file atomically.

    The other arguments are those of `to_torch`. Without a project, the tensors have netzoo's names,
    such as `params/stem/kernel`, and the file stores the model, its options, `preprocessing` and
    `class_names` (in the order of the logits) for `load` and `Predictor`. Files of other
    projects cannot store these.

    Raises:
      UserError: `to_torch` raises it, or an option, such as a `variant`, cannot be stored.
    """
    if project is None:
        flat = flax.traverse_util.flatten_dict(variables, sep="/")
        tensors = {name: np.ascontiguousarray(value) for name, value in flat.items()}
        metadata = {"format": "netzoo", "model": model, "options": _as_text(options)}
        if preprocessing:
            metadata["preprocessing"] = json.dumps(preprocessing)
        if class_names:
            metadata["class_names"] = json.dumps(list(class_names))
    else:
        tensors = to_torch(variables, model, project, **options)
        metadata = {"format": "pt"}
    with replacing(user_path(path), typed=True) as file:
        file.write(save(tensors, metadata))


def _as_text(options: dict[str, Any]) -> str:
    """Return the options of weights as JSON, without the compute dtype."""
    kept = {name: value for name, value in options.items() if name != "dtype"}
    for name, value in kept.items():
        if value is not None and not isinstance(value, bool | int | float | str):
            raise UserError(
                f"option {name}={value!r} cannot be written into the file; expected a number, "
                "text, True, False or None. Omit it here, and pass it to netzoo.load"
            )
    return json.dumps(kept)
