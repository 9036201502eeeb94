"""netzoo: the networks that taught computer vision, in JAX/Flax, and the trainer for them."""

import lazy_loader

__version__ = "0.1.0"

# What `__init__.pyi` names is loaded on first use: JAX takes seconds to import, and
# `netzoo.cli.launch` must be able to set the process up before that.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
