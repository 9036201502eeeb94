"""Options for the compiler that make netzoo's programs faster, where this XLA knows them."""

import functools

import jax

# Not convolutions: XLA 0.10's YNN kernels run those with few features, or with strides, on one core
# where Eigen's run on all of them.
CPU_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}


@functools.cache
def compiler_options() -> dict[str, str]:
    """Returns what to pass to `jax.jit(..., compiler_options=...)` on the default backend.

    Empty where there is nothing to set, or where the installed XLA refuses it: such options come
    and go with its releases.
    """
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=CPU_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return CPU_OPTIONS
