"""Compiler options that make netzoo's programs faster, if the installed XLA accepts them."""

import functools

import jax
from jax.sharding import AbstractMesh, Mesh

from netzoo.kernels.switch import backend

# YNN, the CPU kernels of jaxlib 0.10, speeds up the sums of BatchNorm several times and runs matrix
# products well, but runs convolutions on one core. By default it takes all convolutions. With these
# options, YNN takes a convolution only if its sole consumer is a sum or a pooling. No network has
# such a convolution: classifiers pool by products, and 2x2 pools are slices.
OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}


def compiler_options(mesh: Mesh | AbstractMesh | None = None) -> dict[str, str]:
    """Return the options for `jax.jit(..., compiler_options=...)` for `backend(mesh)`.

    The result is empty for `"native"`, and if the installed XLA rejects the options, which change
    from release to release.
    """
    return dict(_accepted_options()) if backend(mesh) == "cpu" else {}


@functools.cache
def _accepted_options() -> dict[str, str]:
    try:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            jax.jit(lambda: 0, compiler_options=OPTIONS).lower().compile()
    except RuntimeError:  # rejected, or JAX runs without its CPU backend
        return {}
    return OPTIONS
