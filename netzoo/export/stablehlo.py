"""StableHLO files, which JAX alone runs: a ZIP archive of `program` and `metadata.json`.

`program` is the result of `jax.export`, for CPUs, NVIDIA GPUs and TPUs and any batch. Its bytes
have no room for metadata, hence the archive.

    import json, zipfile
    from jax import export
    with zipfile.ZipFile("flowers.stablehlo") as archive:
        program = export.deserialize(bytearray(archive.read("program")))
        metadata = json.loads(archive.read("metadata.json"))
    (logits,) = program.call(images)
"""

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np
from jax import export

from netzoo.export.program import LoadedProgram, Program, UnreadableError, metadata_text, optional
from netzoo.files import MAX_DATA, MAX_TEXT, open_regular
from netzoo.json_files import parse_json
from netzoo.kernels import use_backend

PLATFORMS = ("cpu", "cuda", "tpu")
_PROGRAM, _METADATA = "program", "metadata.json"


def write(file: IO[bytes], program: Program) -> None:
    """Write a program to an open file.

    Raises:
      UserError: The package flatbuffers is not installed.
    """
    optional("flatbuffers", "stablehlo")
    with use_backend("native"), _without_source_lines():
        exported = export.export(jax.jit(program.function), platforms=PLATFORMS)
        data = exported(*program.arguments()).serialize()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in ((_PROGRAM, data), (_METADATA, metadata_text(program.metadata))):
            archive.writestr(zipfile.ZipInfo(name), content)  # without the time, reproducibly


@contextlib.contextmanager
def _without_source_lines() -> Iterator[None]:
    """Omit the names of source files, so that a file does not depend on the machine."""
    config: Any = jax.config
    limit = config.jax_traceback_in_locations_limit
    config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        config.update("jax_traceback_in_locations_limit", limit)


def read(path: Path) -> LoadedProgram:
    """Read a file; the program runs on JAX's default device.

    Raises:
      UnreadableError: `write` did not write the file.
      UserError: flatbuffers is not installed.
    """
    optional("flatbuffers", "stablehlo")
    try:
        metadata, data = _members(path)
        exported = export.deserialize(bytearray(data))
    except OSError:
        raise
    except Exception as error:  # of zipfile, json, flatbuffers or MLIR, for any damage
        problem = "is damaged, or not a file of `netzoo export --format stablehlo`"
        raise UnreadableError(path, problem, error) from None
    call = jax.jit(exported.call)

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(output) for output in call(*inputs)]

    return LoadedProgram(run, metadata)


def _members(path: Path) -> tuple[Mapping[str, Any], bytes]:
    with open_regular(path, MAX_DATA) as file, zipfile.ZipFile(file) as archive:
        size = path.stat().st_size
        for name, limit in ((_PROGRAM, size), (_METADATA, min(size, MAX_TEXT))):
            if archive.getinfo(name).file_size > limit:
                raise ValueError(f"{name} is larger than the file")
        return parse_json(archive.read(_METADATA), {"*": object}), archive.read(_PROGRAM)
