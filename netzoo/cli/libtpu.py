"""libtpu, the compiler and driver of TPUs, on machines without TPUs."""

import glob
import importlib.util
import os

# Variables that make libtpu take the machine for a part of one v5e host.
NO_TPU = {"TPU_ACCELERATOR_TYPE": "v5litepod-1", "TPU_WORKER_HOSTNAMES": "localhost"}
_TPU_FILES = ("/dev/accel*", "/dev/vfio/*")


def is_installed() -> bool:
    """Return whether this Python has libtpu."""
    return importlib.util.find_spec("libtpu") is not None


def keep_quiet() -> None:
    """Describe a machine without TPUs to libtpu, before JAX is imported.

    JAX loads an installed libtpu when it looks for devices. Without these variables, libtpu then
    prints errors about its host.
    """
    if is_installed() and not any(map(glob.glob, _TPU_FILES)):
        for name, value in NO_TPU.items():
            os.environ.setdefault(name, value)
