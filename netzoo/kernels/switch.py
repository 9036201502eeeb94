"""The switch that selects the implementation of every operation while a program is traced.

`"native"` selects plain XLA and Flax operations, which GPU and TPU compilers, `jax.export` and
converters support. `"cuda"` selects the same operations, but the attention of cuDNN, which only
NVIDIA GPUs have. `"cpu"` selects the implementations of `netzoo.kernels`, which are faster on a
CPU. All compute the same values. A `with` block selects the backend:

    with netzoo.kernels.use_backend("native"):
        exported = jax.export.export(jax.jit(apply))(variables, images)
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Literal, get_args

import jax
from jax.sharding import AbstractMesh, Mesh

from netzoo.errors import UserError

Backend = Literal["cpu", "native", "cuda"]
# A user context, so that `jax.jit` traces again when the choice changes.
_CHOSEN = jax.make_user_context(default_value=None)


def backend(mesh: Mesh | AbstractMesh | None = None) -> Backend:
    """Return the backend for which a program is being traced.

    The innermost `use_backend` decides. Otherwise the program's devices decide: `"cpu"` for a CPU,
    `"cuda"` for NVIDIA GPUs from Ampere on, `"native"` for all others.

    Args:
      mesh: The program's devices. If None, `jax.default_device` decides, or else JAX's default
        backend.
    """
    if _CHOSEN.value is not None:
        return _CHOSEN.value
    default = jax.default_device.value
    if isinstance(mesh, Mesh):
        return _backend_of(mesh.devices.flat[0])
    if isinstance(default, str):
        return "cpu" if default == "cpu" else "native"
    return _backend_of(default or jax.local_devices()[0])


def _backend_of(device: jax.Device) -> Backend:
    if device.platform == "cpu":
        return "cpu"
    # cuDNN's attention needs Ampere, "8.0", or later. AMD's names are like "gfx90a".
    version = re.fullmatch(r"(\d+)\.\d+", str(getattr(device, "compute_capability", "")))
    return "cuda" if version and int(version[1]) >= 8 else "native"


@contextlib.contextmanager
def use_backend(name: Backend) -> Iterator[None]:
    """Trace programs inside the `with` block for the backend `name`.

    It also works as a decorator of functions that are traced later.

    Raises:
      UserError: `name` is unknown.
    """
    if name not in get_args(Backend):
        raise UserError(f"backend is {name!r}; expected one of {', '.join(get_args(Backend))}")
    with _CHOSEN(name):
        yield
