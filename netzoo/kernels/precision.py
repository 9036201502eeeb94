"""The precision of matrix products and convolutions of float32 arrays."""

import contextlib
from collections.abc import Iterator

import jax

# What a device multiplies, by platform and precision (`jax.lax.Precision`).
_MEANINGS = {
    "tpu": {
        **dict.fromkeys(("default", "bfloat16"), "one bfloat16 pass"),
        **{"high": "three bfloat16 passes", "highest": "float32"},
    },
    "gpu": {
        **dict.fromkeys(("default", "high", "bfloat16"), "TF32 if the GPU has it"),
        "highest": "float32",
    },
    "cpu": {"bfloat16": "one bfloat16 pass, and float32 for attention and larger convolutions"},
}


@contextlib.contextmanager
def use_precision(name: str) -> Iterator[None]:
    """Trace programs inside the `with` block with `"bfloat16"`, `"high"` or `"highest"` precision.

    `"default"` leaves JAX's setting, which `JAX_DEFAULT_MATMUL_PRECISION` changes. The context
    manager also works as a decorator of functions that are traced later.
    """
    with contextlib.nullcontext() if name == "default" else jax.default_matmul_precision(name):
        yield


def describe_precision(platform: str, name: str) -> str:
    """Return one line on the float32 products of a platform, or "" for float32 on a CPU.

    `name` is the argument of `use_precision`.
    """
    with use_precision(name):
        used = jax.default_matmul_precision.value or "default"
    meaning = _MEANINGS.get(platform, {}).get(used)
    if platform == "cpu" and not meaning:
        return ""
    return f"float32 matrix products: precision {used}" + (f", {meaning}" if meaning else "")
