"""Platform-specific implementations of operations, and the switch that selects among them."""

from netzoo.kernels.precision import describe_precision, use_precision
from netzoo.kernels.switch import Backend, backend, use_backend
from netzoo.kernels.xla_options import compiler_options, options_for_one_run, setup

__all__ = [
    "Backend",
    "backend",
    "compiler_options",
    "describe_precision",
    "options_for_one_run",
    "setup",
    "use_backend",
    "use_precision",
]
