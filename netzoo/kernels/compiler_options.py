"""Options for the compiler that make netzoo's programs faster, where this XLA knows them."""

import functools

import jax

# YNN, XLA 0.10's own kernels, run products of matrices well and the sums of BatchNorm several times
# as fast, but convolutions on one core: all of them by default, and with sums still those that only
# a sum or a pooling reads. There are none: the poolings of a classifier are products, those of 2x2
# pixels slices.
OPTIONS = {
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
        jax.jit(lambda: 0, compiler_options=OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return dict(OPTIONS)
