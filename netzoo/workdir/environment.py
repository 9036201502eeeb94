"""The record of the software, the machine and the data on which a run's results depend."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from netzoo.files import write_text
from netzoo.json_files import read_json
from netzoo.workdir import ENVIRONMENT_FILE

_PACKAGES = (
    "netzoo", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy",
    "opencv-python-headless", "pillow", "scipy", "simplejpeg", "tensorflow-datasets",
    "sentencepiece", "sacrebleu",
)  # fmt: skip
# Environment variables that change the bits of results.
_VARIABLES = "XLA_FLAGS", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION"

# Of environment.json, as far as a continuation needs it.
SHAPE = {"changes?": [{"step": int, "values": {"*": [object, object]}}]}


def shell_line(command: Sequence[str]) -> str:
    """Return a shell line without the folders of this machine."""
    # pip installs the script `netzoo` beside its interpreter.
    first = 1 if len(command) > 1 and Path(command[1]).name == "netzoo" else 0
    return shlex.join([Path(command[first]).name, *command[first + 1 :]])


def describe_environment(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the software, the machine and the data on which a run's results depend.

    It holds `versions` (of installed packages), `commit` (of netzoo, None if unknown), `machine`,
    `variables` (environment variables, None if unset) and `data`, the argument (see
    `netzoo.data.source.fingerprint`). `machine` holds `cpu` (model), `cores` (usable by this
    process), `memory` (bytes, None if unknown), `devices` (e.g. ["8 x TPU v4"], over all hosts),
    `processes` and `platform` (JAX's cpu, gpu or tpu).
    """
    import jax  # Only training needs devices; creating tables must not initialise them.

    devices = Counter(device.device_kind for device in jax.devices())
    has_affinity = hasattr(os, "sched_getaffinity")
    memory = None
    with contextlib.suppress(AttributeError, ValueError, OSError):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "versions": versions(),
        "commit": commit(),
        "machine": {
            "cpu": cpu_model(),
            "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count(),
            "memory": memory,
            "devices": [f"{count} x {name}" for name, count in devices.items()],
            "processes": jax.process_count(),
            "platform": jax.default_backend(),
        },
        "variables": {name: os.environ.get(name) for name in _VARIABLES},
        "data": dict(data),
    }


def save_environment(
    workdir: Path,
    environment: Mapping[str, Any],
    command: Sequence[str],
    parameters: int,
    init: str,
) -> None:
    """Write `environment.json` when a run starts.

    It holds `command` (the argument `command` as a shell line, without the folder of the
    interpreter or of `netzoo`), `parameters` (trainable scalars), `init` ("random" or the name of
    the initial weights), and `environment`. With initial weights, its key `weights` says which
    bytes these are; see `netzoo.weights.provenance`.
    """
    record = {"command": shell_line(command), "parameters": int(parameters), "init": init}
    _write(workdir, {**record, **environment})


def changes_since(workdir: Path, environment: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the differences from the last session of a run: old and new values by key.

    A key is e.g. `machine.cores`. Values that the run has not recorded are left out.
    """
    old, now = last_session(_read(workdir)), _flat(environment)
    return {
        key: (old[key], now[key])
        for key in sorted(old.keys() & now.keys() - {"machine.memory"})
        if old[key] != now[key]
    }


def shared_environment(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values by key that all processes of a job need to have in common."""
    own = {"machine.cpu", "machine.cores", "machine.memory"}
    return {key: value for key, value in _flat(environment).items() if key not in own}


def last_session(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `environment.json` by key, as of the last session of the run."""
    values = _flat({name: value for name, value in record.items() if name != "changes"})
    for change in record.get("changes", ()):
        values |= {key: new for key, (_, new) in change["values"].items()}
    return values


def add_changes(workdir: Path, step: int, changes: Mapping[str, tuple[Any, Any]]) -> None:
    """Add to `environment.json` the differences of the session that continues at `step`."""
    record = _read(workdir)
    record.setdefault("changes", []).append({"step": step, "values": dict(changes)})
    _write(workdir, record)


def _read(workdir: Path) -> dict[str, Any]:
    path = workdir / ENVIRONMENT_FILE
    return read_json(path, SHAPE) if path.exists() else {}


def _write(workdir: Path, record: Mapping[str, Any]) -> None:
    write_text(workdir / ENVIRONMENT_FILE, json.dumps(record, indent=2) + "\n")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        flat |= {f"{prefix}{key}": value} if inner is None else inner
    return flat


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that can affect results."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def commit() -> str | None:
    """Return the Git commit of netzoo, with "-dirty" if files have changed; None if unknown."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():  # otherwise Git would find a repository around netzoo
        return None
    command = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def cpu_model() -> str:
    """Return the model name of the processor."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    # ARM kernels have no such line; fall back to the architecture.
    name = re.search(r"^model name\s*:(.*)$", text, re.MULTILINE)
    return name[1].strip() if name else platform.processor() or platform.machine()
