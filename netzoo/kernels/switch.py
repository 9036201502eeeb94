"""The switch that every operation with two forms asks, once, while a program is traced.

`"native"` takes plain XLA and Flax operations, which the compilers of GPU and TPU, `jax.export` and
converters know. `"cpu"` takes the forms of `netzoo.kernels` that are faster on a CPU. Both compute
the same:

    with netzoo.kernels.use_backend("native"):
        exported = jax.export.export(jax.jit(apply))(variables, images)
"""

import contextlib
from collections.abc import Iterator
from typing import Literal, get_args

import jax
from jax.sharding import AbstractMesh, Mesh

from netzoo.errors import UserError

Backend = Literal["cpu", "native"]
# A part of the key by which `jax.jit` finds what it has traced before.
_CHOSEN = jax.make_user_context(default_value=None)


def backend(mesh: Mesh | AbstractMesh | None = None) -> Backend:
    """Returns which forms a program that is traced now consists of.

    That is the choice of the innermost `use_backend`. Without one it follows the platform of the
    devices that the program is for: `"cpu"` for a CPU, `"native"` for all others.

    Args:
      mesh: The devices that the program is for. Without them, `jax.default_device` or else JAX's
        default backend decides.
    """
    if _CHOSEN.value is not None:
        return _CHOSEN.value
    default = jax.default_device.value
    if isinstance(mesh, Mesh):
        platform = mesh.devices.flat[0].platform
    elif default is None:
        platform = jax.default_backend()
    else:
        platform = default if isinstance(default, str) else default.platform
    return "cpu" if platform == "cpu" else "native"


@contextlib.contextmanager
def use_backend(name: Backend) -> Iterator[None]:
    """Makes programs that are traced within it consist of the forms for `name`.

    It is a decorator as well, for functions that are traced later.

    Raises:
      UserError: `name` is neither of the two.
    """
    if name not in get_args(Backend):
        raise UserError(f"backend is {name!r}; expected one of {', '.join(get_args(Backend))}")
    with _CHOSEN(name):
        yield
