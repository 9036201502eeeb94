"""The backend switch: precedence, and separate programs per backend."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, Mesh

from netzoo import kernels
from netzoo.errors import UserError
from netzoo.kernels import switch
from netzoo.kernels.conv import convolve
from netzoo.kernels.windows import Window

X = jnp.ones((2, 6, 6, 4))
KERNEL = jnp.ones((3, 3, 1, 4))


def depthwise(x, kernel):
    """A function that is a convolution only in its native implementation."""
    return convolve(x, kernel, Window(), groups=4)


def total(kernel, x):
    return jnp.sum(depthwise(x, kernel) ** 2)


def convolutions(function, *args):
    return str(jax.make_jaxpr(function)(*args)).count("conv_general_dilated[")


class Elsewhere:
    """A fake device of another platform."""

    platform = "tpu"


def test_the_default_is_the_platform_of_the_devices():
    """The platform of `jax.default_device` determines the backend."""
    assert kernels.backend() == "cpu"  # of the tests
    with jax.default_device(jax.devices("cpu")[0]):
        assert kernels.backend() == "cpu"
    with jax.default_device("tpu"):
        assert kernels.backend() == "native"


def test_the_devices_of_a_mesh_count_more_than_the_default():
    """The platform of the mesh determines the backend; an abstract mesh has no devices."""
    mesh = Mesh(np.array(jax.devices()[:1]), "data")
    with jax.default_device("tpu"):
        assert kernels.backend(mesh) == "cpu"
        assert kernels.backend(AbstractMesh((2,), "data")) == "native"
    mesh = type("AMesh", (Mesh,), {"__new__": object.__new__, "devices": np.array([Elsewhere()])})()
    assert kernels.backend(mesh) == "native"


@pytest.mark.parametrize(
    ("capability", "expected"),
    [("9.0", "cuda"), ("8.6", "cuda"), ("7.5", "native"), ("gfx90a", "native")],
)
def test_cudnn_attention_needs_a_recent_gpu_of_nvidia(capability, expected):
    """Older GPUs, and those of AMD, get plain operations."""
    gpu = type("Gpu", (), {"platform": "gpu", "compute_capability": capability})()
    mesh = type("AMesh", (Mesh,), {"__new__": object.__new__, "devices": np.array([gpu])})()
    assert kernels.backend(mesh) == expected


def test_use_backend_counts_most_and_ends():
    """The innermost choice overrides a mesh, and ends with its block."""
    mesh = Mesh(np.array(jax.devices()[:1]), "data")
    with kernels.use_backend("native"):
        assert kernels.backend() == kernels.backend(mesh) == "native"
        with kernels.use_backend("cpu"):
            assert kernels.backend() == "cpu"
        with pytest.raises(ZeroDivisionError), kernels.use_backend("cpu"):
            1 / 0  # noqa: B018
        assert kernels.backend() == "native"
    assert kernels.backend() == "cpu"
    assert kernels.use_backend("native")(kernels.backend)() == "native"


def test_unknown_names_are_refused():
    """The error lists the backends."""
    with pytest.raises(UserError, match=r"'gpu'.*cpu.*native.*cuda"), kernels.use_backend("gpu"):
        pass


def test_a_function_traced_under_one_backend_is_traced_again_under_the_other():
    """A new choice traces again, so that exported programs are native."""
    compiled = jax.jit(depthwise)

    def form():
        return "convolution" in compiled.lower(X, KERNEL).as_text()

    assert not form()
    with kernels.use_backend("native"):
        assert form()
        native = compiled(X, KERNEL)
    assert not form()
    np.testing.assert_array_equal(compiled(X, KERNEL), native)


def test_a_switch_that_jax_does_not_know_of_fails_that(monkeypatch):
    """The previous test is meaningful: with a plain variable, JAX reuses the trace."""

    class Plain:
        value = None

    monkeypatch.setattr(switch, "_CHOSEN", Plain)
    compiled = jax.jit(lambda x, kernel: depthwise(x, kernel))
    first = compiled.lower(X, KERNEL).as_text()
    monkeypatch.setattr(Plain, "value", "native")
    assert compiled.lower(X, KERNEL).as_text() == first


def rematerialized(kernel, x):
    return jax.checkpoint(total)(kernel, x)


def scanned(kernel, x):
    return jax.lax.scan(lambda sum_, image: (sum_ + total(kernel, image[None]), None), 0.0, x)[0]


@pytest.mark.parametrize("loss", [total, jax.jit(total), rematerialized, scanned, jax.jit(scanned)])
def test_gradients_use_the_backend_of_the_forward_pass(loss):
    """Under `jit`, rematerialised and in loops: convolutions everywhere, or nowhere."""
    both = jax.jit(jax.value_and_grad(lambda kernel, x: loss(kernel, x), argnums=(0, 1)))
    assert convolutions(both, KERNEL, X) == 0
    with kernels.use_backend("native"):
        assert convolutions(both, KERNEL, X) >= 3
        native = both(KERNEL, X)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), both(KERNEL, X), native)


@pytest.mark.parametrize(("first", "then"), [("cpu", "native"), ("native", "cpu")])
def test_a_gradient_taken_later_uses_the_backend_of_its_forward_pass(first, then):
    """The backend of the forward pass also applies to gradients taken outside the block."""

    def pull_back_elsewhere(kernel, x):
        with kernels.use_backend(first):
            _, pull_back = jax.vjp(total, kernel, x)
        with kernels.use_backend(then):
            return pull_back(1.0)

    counted = convolutions(pull_back_elsewhere, KERNEL, X)
    assert counted == (0 if first == "cpu" else 3)
