"""What the processes of a job decide together, before any of them computes.

They talk through the service that `jax.distributed.initialize` starts in process 0. It needs no
devices, so a process that fails can still tell the others why, and all of them end.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from chex import ArrayTree
from jax._src import distributed  # JAX has no public name for the service; Orbax uses this one too

from netzoo.buckets import is_in_bucket
from netzoo.errors import UserError

_POLL_MS = 1000
_FAILED = "netzoo/failed/"


class OtherProcessFailed(UserError):
    """Another process of the job has failed; the message describes the failure."""


@dataclasses.dataclass(eq=False)
class Job:
    """The processes of a job, and the index of this process among them."""

    client: Any  # of the service; None without other processes
    index: int
    count: int
    decisions: Iterator[int] = dataclasses.field(default_factory=itertools.count)


def this_job() -> Job:
    """Return the job of this process, without touching the devices."""
    state = distributed.global_state
    return _job(state.client, state.process_id, state.num_processes)


@functools.lru_cache(maxsize=1)
def _job(client: Any, index: int, count: int) -> Job:
    return Job(client, index, count)


def decide(value: Any, rule: Callable[[list[Any]], Any], job: Job | None = None) -> Any:
    """In process 0, apply `rule` to the values of all processes; return the result in every one.

    All processes must make the same calls in the same order; a call waits for the others' calls.

    Args:
      value: The value of this process; the values and the result are JSON.
      rule: Takes the values in the order of the processes.
      job: The processes; those of this job if None.

    Raises:
      OtherProcessFailed: Another process has failed.
    """
    job = job or this_job()
    if job.client is None:
        return rule([value])
    value = json.loads(json.dumps(value))
    name = f"netzoo/decision/{next(job.decisions)}"
    result = f"{name}/result"
    if job.index:
        job.client.key_value_set(f"{name}/{job.index}", json.dumps(value))
        return json.loads(_wait_for(job, result))
    others = [json.loads(_wait_for(job, f"{name}/{index}")) for index in range(1, job.count)]
    text = json.dumps(rule([value, *others]))
    job.client.key_value_set(result, text)
    return json.loads(text)


def anyone(value: bool) -> bool:
    """Return whether `value` holds in any process; see `decide`."""
    return decide(bool(value), any)


def check_same(values: Mapping[str, Any]) -> None:
    """Check that all processes have the same values; see `decide`.

    Raises:
      UserError: Values differ; the message lists them by key. Every process raises it.
    """
    if found := decide({"--processes": this_job().count, **values}, differences):
        raise UserError(
            "the processes of the job differ:\n"
            + "\n".join(found)
            + "\nStart all of them with the same command, the same data and the same versions."
        )


def check_same_arrays(name: str, tree: ArrayTree | None) -> None:
    """Check that all processes have the same arrays; see `check_same`. `name` is for the error."""
    if this_job().client is not None:
        check_same({f"SHA-256 of {name}": sha256_of_arrays(tree)})


def sha256_of_arrays(tree: ArrayTree | None) -> str:
    """Return the SHA-256 of the types, shapes and values of a tree of arrays, in hexadecimal."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def check_shared(folder: Path) -> None:
    """Check that a folder is the same one in all processes, which must all call this function.

    Raises:
      UserError: A process has another folder of this name.
    """
    job = this_job()
    if job.client is None:
        return
    if is_in_bucket(folder):
        check_same({"--workdir": str(folder)})
        return
    with contextlib.ExitStack() as stack:
        name = None
        if job.index == 0:
            options: dict[str, Any] = {"prefix": ".netzoo-", "suffix": ".partial", "dir": folder}
            mark = stack.enter_context(tempfile.NamedTemporaryFile(**options))
            name = Path(mark.name).name
        name = decide(name, lambda names: names[0])
        if anyone(not (folder / name).exists()):
            raise UserError(
                f"{folder} is not the same folder in all processes; expected one on a file system "
                "that all of them share"
            )


def differences(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for every key whose value is not the same for all processes."""
    lines = []
    for key in sorted(set().union(*values)):
        groups: dict[str, list[int]] = {}
        for index, of_process in enumerate(values):
            text = repr(of_process[key]) if key in of_process else "absent"
            groups.setdefault(text, []).append(index)
        if len(groups) > 1:
            listed = (f"{text} in {_named(indices)}" for text, indices in groups.items())
            lines.append(f"  {key}: {', '.join(listed)}")
    return lines


def _named(indices: Sequence[int]) -> str:
    if len(indices) <= 3:
        return f"process {' and '.join(map(str, indices))}"
    return f"process {indices[0]} and {len(indices) - 1} others"


@contextlib.contextmanager
def telling_others(job: Job | None = None) -> Iterator[None]:
    """Report an error in the `with` block to the other processes, which would otherwise wait."""
    try:
        yield
    except OtherProcessFailed:
        raise
    except Exception as error:
        job = job or this_job()
        if job.client is not None:
            text = str(error) if isinstance(error, UserError) else repr(error)
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # the service may have ended
                job.client.key_value_set(f"{_FAILED}{job.index}", f"process {job.index}: {text}")
        raise


def _wait_for(job: Job, key: str) -> str:
    while True:
        try:
            return job.client.blocking_key_value_get(key, _POLL_MS)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
        if failed := job.client.key_value_dir_get(_FAILED):
            told = "\n".join(text for _, text in sorted(failed))
            raise OtherProcessFailed(f"another process of the job has failed. {told}")
