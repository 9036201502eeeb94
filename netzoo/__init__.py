"""netzoo: classic vision networks and the Transformer in JAX/Flax, with a trainer."""

import sys

import lazy_loader

if sys.platform == "win32":
    raise ImportError(
        "netzoo does not run on Windows: file locks (flock) and the package array_record are "
        "missing there; use the Windows Subsystem for Linux (WSL)"
    )

__version__ = "0.1.0"

# The names in `__init__.pyi` are loaded on first use, because JAX takes seconds to import and
# `netzoo.cli.launch` must configure the process first.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
