"""Options for the compiler that make netzoo's programs faster, where this XLA knows them."""

import functools

import jax
from jax.sharding import AbstractMesh, Mesh

from netzoo.kernels.switch import backend

# YNN, XLA 0.10's own kernels, run products of matrices well and the sums of BatchNorm several times
# as fast, but convolutions on one core. By default that is all convolutions. With these options it
# is those that only a sum or a pooling reads; no network has one, since the poolings of classifiers
# are products and those of 2x2 pixels are slices.
OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}


def compiler_options(mesh: Mesh | AbstractMesh | None = None) -> dict[str, str]:
    """Returns what to pass to `jax.jit(..., compiler_options=...)` for `backend(mesh)`.

    It is empty for `"native"`, and where the installed XLA refuses the options: they come and go
    with its releases.
    """
    return dict(_accepted_options()) if backend(mesh) == "cpu" else {}


@functools.cache
def _accepted_options() -> dict[str, str]:
    try:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            jax.jit(lambda: 0, compiler_options=OPTIONS).lower().compile()
    except RuntimeError:  # refused, or JAX was started without its CPU backend
        return {}
    return OPTIONS
