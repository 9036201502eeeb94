"""Writes variables under the names of other projects, and netzoo's own files."""

import os
from pathlib import Path

import flax.traverse_util
import numpy as np
from chex import ArrayTree
from safetensors.numpy import save_file

from netzoo.errors import unknown_name
from netzoo.models.registry import create_model
from netzoo.weights.families import layouts
from netzoo.weights.state_dict import to_tensors


def to_torch(
    variables: ArrayTree, model: str, project: str = "torchvision", **options
) -> dict[str, np.ndarray]:
    """Returns variables under the names and in the axes of another project.

    `load_weights` undoes it bit for bit. The counts of batches, `num_batches_tracked`, are absent;
    PyTorch's `load_state_dict` does not need them.

    The variables are those of `create_model(model, **options)`.

    Raises:
      UserError: The names of the project are not known for the network.
    """
    module = create_model(model, **options)
    known = layouts(module)
    if project not in known:
        raise unknown_name(f"project with names for {model}", project, known)
    return to_tensors(variables, known[project](module, variables))


def save_safetensors(
    path: str | Path, variables: ArrayTree, model: str, project: str | None = None, **options
) -> None:
    """Writes variables to a .safetensors file; it appears under its name when it is complete.

    Arguments are those of `to_torch`. Without a project the names are netzoo's,
    `params/stem/kernel`, and the file keeps the name of the model.
    """
    if project is None:
        flat = flax.traverse_util.flatten_dict(variables, sep="/")
        tensors = {name: np.ascontiguousarray(value) for name, value in flat.items()}
        metadata = {"format": "netzoo", "model": model}
    else:
        tensors = to_torch(variables, model, project, **options)
        metadata = {"format": "pt"}
    partial = Path(path).with_name(f"{Path(path).name}.partial")
    # safetensors writes files for their owner alone; this one is as open as the umask says.
    partial.unlink(missing_ok=True)
    partial.touch()
    mode = partial.stat().st_mode
    save_file(tensors, partial, metadata)
    partial.chmod(mode)
    os.replace(partial, path)
