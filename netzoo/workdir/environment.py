"""The record of the machine and the package versions of a run."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from netzoo.workdir import ENVIRONMENT_FILE

_PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "tensorflow-datasets",
    "sentencepiece", "sacrebleu",
)  # fmt: skip


def _shell_line(command: Sequence[str]) -> str:
    """Return a shell line without the folders of this machine."""
    # pip installs the script `netzoo` beside its interpreter.
    first = 1 if len(command) > 1 and Path(command[1]).name == "netzoo" else 0
    return shlex.join([Path(command[first]).name, *command[first + 1 :]])


def save_environment(workdir: Path, command: Sequence[str], parameters: int, init: str) -> None:
    """Write `environment.json`, which describes the software and the machine of a run.

    It holds `command` (a shell line, without the folder of the interpreter or of `netzoo`),
    `parameters` (trainable scalars), `init` ("random" or the name of the initial weights),
    `versions` (of installed packages) and `machine`: `cpu` (model), `cores` (usable by this
    process), `memory` (bytes, None if unknown), `devices` (e.g. ["8 x TPU v4"], over all hosts) and
    `platform` (JAX's cpu, gpu or tpu). The argument `command` is the command as typed.
    """
    import jax  # Only training needs devices; creating tables must not initialise them.

    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    devices = Counter(device.device_kind for device in jax.devices())
    has_affinity = hasattr(os, "sched_getaffinity")
    memory = None
    with contextlib.suppress(AttributeError, ValueError, OSError):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    record = {
        "command": _shell_line(command),
        "parameters": int(parameters),
        "init": init,
        "versions": versions,
        "machine": {
            "cpu": cpu_model(),
            "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
            "memory": memory,
            "devices": [f"{count} x {name}" for name, count in devices.items()],
            "platform": jax.default_backend(),
        },
    }
    (workdir / ENVIRONMENT_FILE).write_text(json.dumps(record, indent=2) + "\n")


def cpu_model() -> str:
    """Return the model name of the processor."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    # ARM kernels have no such line; fall back to the architecture.
    name = re.search(r"^model name\s*:(.*)$", text, re.MULTILINE)
    return name[1].strip() if name else platform.processor() or platform.machine()
