"""The record of the machine and the package versions of a run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netzoo.workdir import ENVIRONMENT_FILE

_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "numpy",
    "tensorflow-datasets",
    "sentencepiece",
    "sacrebleu",
)


def save_environment(workdir: Path, command: Sequence[str], parameters: int, init: str) -> None:
    """Writes `environment.json`; see `environment_record`."""
    record = environment_record(command, parameters, init)
    (workdir / ENVIRONMENT_FILE).write_text(json.dumps(record, indent=2) + "\n")


def environment_record(command: Sequence[str], parameters: int, init: str) -> dict[str, Any]:
    """Describes what a run runs on.

    Args:
      command: The argument list as typed, say ["python", "train.py", "--config", ...].
      parameters: Number of trainable scalars.
      init: "random", or the name of the weights training starts from.

    Returns:
      `command` (one shell line; the interpreter without its folder, which differs between
      machines), `parameters`, `init`, `versions` (package to version; one that is not installed is
      left out) and `machine`: `cpu` (model), `cores` (usable by this process), `memory` (bytes,
      None where the system does not say), `devices` (say ["8 x TPU v4"], over all hosts) and
      `platform` (JAX's name: cpu, gpu or tpu).
    """
    import jax  # Only training needs devices: making tables must not wake them.

    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    devices = Counter(device.device_kind for device in jax.devices())
    has_affinity = hasattr(os, "sched_getaffinity")
    return {
        "command": shlex.join([Path(command[0]).name, *command[1:]]),
        "parameters": int(parameters),
        "init": init,
        "versions": versions,
        "machine": {
            "cpu": cpu_model(),
            "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
            "memory": _memory_bytes(),
            "devices": [f"{count} x {name}" for name, count in devices.items()],
            "platform": jax.default_backend(),
        },
    }


def cpu_model() -> str:
    """Returns the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            # ARM kernels have no such line; the architecture's name has to do there.
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
