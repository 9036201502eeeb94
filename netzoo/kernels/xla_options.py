"""Compiler options that make netzoo's programs faster, if the installed XLA accepts them."""

import functools
import os

import jax
import jaxlib
from jax.sharding import AbstractMesh, Mesh

from netzoo.errors import UserError
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


# LLVM's level 1 instead of 3. It changes no operation of the program, so the results are the same.
_RUNS_ONCE = {"xla_backend_optimization_level": 1}


def options_for_one_run(mesh: Mesh | AbstractMesh | None = None) -> dict[str, int]:
    """Return the options of a program that runs once, whose compilation takes longer than the run.

    On a CPU, they shorten the compilation of MobileNetV2's initial state by a third. The result is
    empty for other devices.
    """
    return dict(_RUNS_ONCE) if backend(mesh) == "cpu" else {}


@functools.cache
def _accepted_options() -> dict[str, str]:
    try:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            jax.jit(lambda: 0, compiler_options=OPTIONS).lower().compile()
    except RuntimeError:  # rejected, or JAX runs without its CPU backend
        return {}
    return OPTIONS


# Releases of jaxlib whose XLA knows the options. An XLA that does not would abort the process.
_KNOWN = ((0, 10), (0, 13))


def setup() -> None:
    """Give every program of this process the trainer's XLA options, whoever compiles it.

    Call it once, before JAX computes anything. `jax.jit` then needs no `compiler_options`. The
    function adds the options to the environment variable `XLA_FLAGS` and starts XLA, which then
    reads the variable. It does not change options that the variable already has. Nothing changes
    for programs on GPU and TPU, or if jaxlib is older than 0.10 or newer than the tested releases.

    Raises:
      UserError: JAX has already computed something, so XLA ignores the variable.
    """
    release = tuple(map(int, jaxlib.__version__.split(".")[:2]))
    given = os.environ.get("XLA_FLAGS", "")
    wanted = [f"--{name}={value}" for name, value in OPTIONS.items() if name not in given]
    if not wanted or not _KNOWN[0] <= release < _KNOWN[1]:
        return
    os.environ["XLA_FLAGS"] = " ".join([*given.split(), *wanted])
    if backend() == "cpu" and _ynn_takes_convolutions():
        os.environ["XLA_FLAGS"] = given
        raise UserError(
            "netzoo.setup() came too late: JAX has already computed something. Call it earlier, or "
            "pass compiler_options=netzoo.compiler_options() to jax.jit"
        )


def _ynn_takes_convolutions() -> bool:
    """Compile a small convolution and return whether it became a kernel of YNN."""
    shapes = [jax.ShapeDtypeStruct(shape, "float32") for shape in ((1, 8, 8, 32), (3, 3, 32, 32))]

    def convolve(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)

    return "ynn_fusion" in (jax.jit(convolve).lower(*shapes).compile().as_text() or "")
