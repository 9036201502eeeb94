"""Compiles a training step for a target, in a process of its own.

python -m netzoo.cli.plan.worker FOLDER

`netzoo.cli.plan.accelerator` starts this module with the environment that libtpu needs. FOLDER has
the configuration and JOB_FILE; this module writes RESULT_FILE there. The cache folder keeps what
the compiler said of a program, under a hash of the program's text.
"""

import hashlib
import importlib.metadata
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import jax
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo import kernels
from netzoo import mesh as meshes
from netzoo.cache import cache_folder
from netzoo.cli.plan.collectives import bytes_sent, number_of_collectives
from netzoo.cli.plan.count import count_products
from netzoo.cli.plan.estimate import (
    abstract_mesh,
    local_bytes,
    on_every_device,
    task_and_batch,
    with_rows,
)
from netzoo.cli.plan.topology import Target, parse_target, tpu_devices
from netzoo.config import load_config
from netzoo.console import json_text
from netzoo.errors import UserError
from netzoo.files import make_folder, write_text
from netzoo.json_files import OtherShape, read_json
from netzoo.tasks.task import Task
from netzoo.training.step import build_train_program

JOB_FILE, RESULT_FILE = "job.json", "result.json"
JOB = {"target": str, "classes": (int, None), "rows": (int, None)}
# What the compiler says of a program; None where it was not asked.
PROGRAM = {
    "refusal": str,  # the words of the compiler, or "" if the program fits
    "wanted": (int, None),  # bytes of HBM that it wanted, if it refused for that reason
    "arguments": int,
    "output": int,
    "alias": int,
    "temporaries": int,
    "code": int,
    "peak": int,  # of the live arrays, by XLA; those in the memory of the core are included
    "bytes": float,  # accessed, with the bodies of loops once
    "sent": {"*": int},  # bytes that a chip sends, by collective
    "collectives": {"*": int},  # their number
    "asynchronous": {"*": int},  # the number of those that overlap with other operations
    "seconds": float,
    "jax": str,
    "libtpu": str,
}
RESULT = {
    "error?": str,  # the text of a UserError; then there are no other keys
    "rows?": int,
    "unit?": str,
    "units?": int,  # in the batch of all chips
    "examples?": (int, None),
    "state?": int,  # bytes on a chip between two steps
    "parameters?": int,  # bytes of the whole network
    "flops?": float,
    "products?": float,  # bytes of all products
    "repeated?": float,
    "program?": (PROGRAM, None),
}
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
_FORMAT = "1"  # of the results in the cache
# libtpu calls the sum of arguments and temporaries "temporaries".
_HBM = re.compile(
    r"(?:memory required for HLO temporaries \(|Used )(?P<size>[\d.]+)(?P<unit>[KMG])"
    r"(?:\) exceeds available HBM| of [\d.]+[KMG] hbm)"
)


def measure(config: ConfigDict, target: Target, classes: int | None, rows: int | None) -> dict:
    """Count a step, and compile it if the target is a TPU.

    Args:
      config: The configuration of the run.
      target: The chips.
      classes: The number of classes to plan without data, or None.
      rows: The batch of all chips; None for that of the configuration.

    Returns:
      A value of the shape RESULT.

    Raises:
      UserError: The configuration is invalid, or the chips cannot divide the batch.
    """
    config, task, batch = task_and_batch(config, classes)
    own = jax.tree.leaves(batch)[0].shape[0]
    rows = rows or own
    fsdp = config.sharding.fsdp
    mesh = abstract_mesh(config, rows, target.chips, fsdp)  # raises an error if they do not fit
    with kernels.use_backend("native"):
        state = build_train_program(config, task, mesh).state
        single = build_train_program(config, task, abstract_mesh(config, rows, 1, 1))
        part = with_rows(batch, rows // target.chips)
        traced: Any = single.step.trace(single.state, part, task.constants)
    products = count_products(traced.jaxpr.jaxpr)
    counted = task.count(batch) if classes is None else own
    return {
        "rows": rows,
        "unit": task.throughput_unit,
        "units": counted * rows // own,
        "examples": task.steps_per_epoch * own if classes is None else None,
        "state": local_bytes(state),
        "parameters": local_bytes(single.state.params),
        "flops": products.flops,
        "products": products.bytes,
        "repeated": products.repeated,
        "program": _compile(config, task, with_rows(batch, rows), target)
        if target.platform == "tpu"
        else None,
    }


def _compile(config: ConfigDict, task: Task, batch: ArrayTree, target: Target) -> dict:
    mesh = meshes.create_mesh(config.sharding.fsdp, tpu_devices(target))
    program = build_train_program(config, task, mesh)
    sharding = meshes.split_batch(mesh)
    batch = jax.tree.map(lambda x: x.update(sharding=sharding), batch)
    constants = on_every_device(task.constants, mesh)
    lowered: Any = program.step.lower(program.state, batch, constants)
    libtpu = importlib.metadata.version("libtpu")
    key = "\n".join((_FORMAT, str(target), jax.__version__, libtpu, lowered.as_text()))
    file = cache_folder() / "plans" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    if file.exists():
        try:
            return read_json(file, PROGRAM)
        except OtherShape:
            pass  # the file is written again
    found = {**_analyse(lowered, mesh.size), "jax": jax.__version__, "libtpu": libtpu}
    make_folder(file.parent)
    write_text(file, json_text(found))
    return found


def _analyse(lowered: Any, devices: int) -> dict[str, Any]:
    began = time.monotonic()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if not str(error).startswith("RESOURCE_EXHAUSTED"):
            raise
        return refusal(str(error), time.monotonic() - began)
    seconds = time.monotonic() - began
    memory, text = compiled.memory_analysis(), compiled.as_text()
    return {
        "refusal": "",
        "wanted": None,
        "arguments": memory.argument_size_in_bytes,
        "output": memory.output_size_in_bytes,
        "alias": memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "code": memory.generated_code_size_in_bytes,
        "peak": memory.peak_memory_in_bytes,
        "bytes": compiled.cost_analysis()["bytes accessed"],
        "sent": dict(bytes_sent(text, devices)),
        "collectives": dict(number_of_collectives(text)),
        "asynchronous": dict(number_of_collectives(text, asynchronous=True)),
        "seconds": seconds,
    }


def refusal(text: str, seconds: float) -> dict[str, Any]:
    """Return what the compiler says of a program that does not fit, from its error."""
    found = _HBM.search(text)
    wanted = int(float(found["size"]) * _UNITS[found["unit"]]) if found else None
    nothing = dict.fromkeys(("arguments", "output", "alias", "temporaries", "code", "peak"), 0)
    return {
        "refusal": " ".join(text.split())[:400],
        "wanted": wanted,
        **nothing,
        "bytes": 0.0,
        "sent": {},
        "collectives": {},
        "asynchronous": {},
        "seconds": seconds,
    }


def main(folder: Path) -> None:
    """Do the job of a folder."""
    job = read_json(folder / JOB_FILE, JOB)
    try:
        target = parse_target(job["target"])
        result = measure(load_config(folder), target, job["classes"], job["rows"])
    except UserError as error:
        result = {"error": str(error)}
    write_text(folder / RESULT_FILE, json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
