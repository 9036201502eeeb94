"""ONNX files, which ONNX Runtime and many other programs run.

`jaxpr` interprets a traced program, `rules` and `layers` translate its operations, `graph` collects
the nodes, and `weights` computes the checksum of the weights. The `metadata_props` of the file hold
the checksum and the metadata: strings unchanged, all other values as JSON.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from netzoo.errors import UserError
from netzoo.export.program import LoadedProgram, Program, UnreadableError, optional
from netzoo.files import MAX_DATA, read_bytes

_MOST_BYTES = 2**31 - 1  # the largest protocol buffer
_QUIET = 3  # ONNX Runtime logs only errors


def write(file: IO[bytes], program: Program) -> None:
    """Write a program to an open file.

    Raises:
      UserError: The package onnx is not installed; the program has an operation that cannot be
        translated; or the file would have over 2 GiB.
    """
    onnx = optional("onnx", "onnx")
    # Both modules import onnx.
    from netzoo.export.onnx.jaxpr import to_model
    from netzoo.export.onnx.weights import WEIGHTS_SHA256, weights_sha256

    model = to_model(program)
    for key, value in program.metadata.items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.metadata_props.add(key=key, value=text)
    model.metadata_props.add(key=WEIGHTS_SHA256, value=weights_sha256(model))
    if model.ByteSize() > _MOST_BYTES:
        raise UserError(
            f"the file would have {model.ByteSize():,} bytes, and an ONNX file has at most 2 GiB; "
            "use --format stablehlo"
        )
    onnx.checker.check_model(model, full_check=True)
    file.write(model.SerializeToString(deterministic=True))


def read(path: Path) -> LoadedProgram:
    """Read a file; ONNX Runtime runs the program on the CPU.

    Raises:
      UnreadableError: The file is damaged, or other files hold its weights.
      UserError: onnx or onnxruntime is not installed.
    """
    onnx, runtime = optional("onnx", "onnx"), optional("onnxruntime", "onnx")
    from netzoo.export.onnx.weights import check_weights  # imports onnx

    options = runtime.SessionOptions()
    options.log_severity_level = _QUIET
    data = read_bytes(path, MAX_DATA)
    try:
        check_weights(onnx.ModelProto.FromString(data))
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class for each kind of damage
        raise UnreadableError(path, "is damaged, or not an ONNX file", error) from None
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        return session.run(None, dict(zip(names, inputs, strict=True)))

    return LoadedProgram(run, _metadata(session.get_modelmeta().custom_metadata_map))


def _metadata(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of metadata."""
    values: dict[str, Any] = {}
    for key, text in texts.items():
        try:
            values[key] = json.loads(text)
        except (ValueError, RecursionError):
            values[key] = text
    return values
