"""The precision of matrix products and convolutions of float32 arrays on GPU and TPU."""

import contextlib
from collections.abc import Iterator

import jax

# What an accelerator multiplies, by platform and precision (`jax.lax.Precision`).
_MEANINGS = {
    "tpu": {"default": "one bfloat16 pass", "high": "three bfloat16 passes", "highest": "float32"},
    "gpu": dict.fromkeys(("default", "high"), "TF32 if the GPU has it") | {"highest": "float32"},
}


@contextlib.contextmanager
def use_precision(name: str) -> Iterator[None]:
    """Trace programs inside the `with` block with `"high"` or `"highest"` precision.

    `"default"` leaves JAX's setting, which `JAX_DEFAULT_MATMUL_PRECISION` changes. The context
    manager also works as a decorator of functions that are traced later.
    """
    with contextlib.nullcontext() if name == "default" else jax.default_matmul_precision(name):
        yield


def describe_precision(platform: str, name: str) -> str:
    """Return one line on the float32 products of a platform, or "" for a CPU.

    `name` is the argument of `use_precision`.
    """
    with use_precision(name):
        used = jax.default_matmul_precision.value or "default"
    if platform == "cpu":
        return ""
    meaning = _MEANINGS.get(platform, {}).get(used)
    return f"float32 matrix products: precision {used}" + (f", {meaning}" if meaning else "")
