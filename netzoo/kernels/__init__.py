"""Forms of an operation that exist for the speed of one platform, and the one switch among them."""

from netzoo.kernels.switch import Backend, backend, use_backend
from netzoo.kernels.xla_options import compiler_options

__all__ = ["Backend", "backend", "compiler_options", "use_backend"]
