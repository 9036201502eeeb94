"""Options for the compiler that make netzoo's programs faster, where this XLA knows them."""

import functools

import jax

# YNN, XLA 0.10's own kernels, run products of matrices well and the sums of BatchNorm several times
# as fast, but convolutions on one core: all of them by default, and where they may take sums, those
# convolutions that only a sum reads. In training the backward pass reads every convolution too; in
# inference the mean over the last pixels takes the last one with it, and a ResNet-18's batch of one
# takes 1.65 times as long.
_OPTION = "xla_cpu_experimental_ynn_fusion_type"
WITHOUT_SUMS = {_OPTION: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
WITH_SUMS = {_OPTION: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"}


def compiler_options(*, sums: bool) -> dict[str, str]:
    """Returns what to pass to `jax.jit(..., compiler_options=...)` on the default backend.

    Empty where there is nothing to set, or where the installed XLA refuses it: such options come
    and go with its releases.

    Args:
      sums: Whether YNN may take sums: in training, and where there is no convolution.
    """
    return _known(tuple((WITH_SUMS if sums else WITHOUT_SUMS).items()))


@functools.cache
def _known(options: tuple[tuple[str, str], ...]) -> dict[str, str]:
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return dict(options)
