"""Forms of an operation that exist for the speed of one platform, and the one switch among them."""

from netzoo.kernels.switch import Backend, backend, use_backend

__all__ = ["Backend", "backend", "use_backend"]
