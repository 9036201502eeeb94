"""LiteRT files (.tflite), for phones and small devices: one image at a time.

TensorFlow converts the program. The weights are float32, float16, or int8 with scales from
calibration images; inputs and outputs stay as in the other formats. A ZIP archive with
`metadata.json` and `labels.txt` follows the model in the file, as TensorFlow's own metadata do, so
`unzip` reads it and LiteRT ignores it.
"""

import hashlib
import importlib.metadata
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np
from jax.extend import core

from netzoo.errors import UserError, printable
from netzoo.export.program import LoadedProgram, Program, UnreadableError, metadata_text, optional
from netzoo.files import MAX_DATA, MAX_TEXT, read_bytes
from netzoo.json_files import parse_json
from netzoo.kernels import use_backend

PRECISIONS = ("float32", "float16", "int8")
_METADATA, _LABELS = "metadata.json", "labels.txt"
_SHA256 = "model_sha256"  # key of the metadata
_EXTRA = "litert"


def write(
    file: IO[bytes],
    program: Program,
    precision: str = "float32",
    calibration: Sequence[np.ndarray] = (),
) -> None:
    """Write a program of one input to an open file.

    Args:
      file: The file.
      program: The program; its batch becomes 1.
      precision: One of `PRECISIONS`.
      calibration: Inputs `[1, ...]` for int8, which determine the ranges of activations.

    Raises:
      UserError: A package is not installed, or TensorFlow cannot convert the program.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tensorflow = optional("tensorflow", _EXTRA)
    converter = _converter(tensorflow, program, precision)
    if precision != "float32":
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tensorflow.float16]
    if precision == "int8":

        def representative() -> Iterator[list[np.ndarray]]:
            yield from ([example] for example in calibration)

        converter.representative_dataset = representative
    try:
        data = converter.convert()
    except Exception as error:  # of TensorFlow, for operations that LiteRT lacks
        reason = printable(" ".join(str(error).split()))[:300]
        raise UserError(f"TensorFlow cannot convert this network to LiteRT: {reason}") from None
    file.write(data + _archive(program, data))


def _converter(tensorflow: Any, program: Program, precision: str) -> Any:
    """Return TensorFlow's converter of the native program for a batch of 1."""
    jax2tf = optional("jax.experimental.jax2tf", _EXTRA)
    [(name, (shape, dtype))] = program.inputs.items()
    fixed = tuple(size if isinstance(size, int) else 1 for size in shape)
    with use_backend("native"):
        if precision == "int8":
            _check_int8(jax.make_jaxpr(program.function)(jax.ShapeDtypeStruct(fixed, dtype)).jaxpr)
        function = tensorflow.function(
            jax2tf.convert(
                lambda x: program.function(x)[0], native_serialization_platforms=["cpu"]
            ),
            input_signature=[tensorflow.TensorSpec(fixed, np.dtype(dtype), name=name)],
            autograph=False,
        )
        concrete = function.get_concrete_function()
    return tensorflow.lite.TFLiteConverter.from_concrete_functions([concrete], function)


def _check_int8(jaxpr: core.Jaxpr) -> None:
    """Raise a UserError if the network has the exact GELU.

    LiteRT aborts on int8 files of such networks: TensorFlow 2.21 gives values inside `erfc` a scale
    of 1e33, which LiteRT cannot represent.
    """
    for equation in jaxpr.eqns:
        if equation.primitive.name == "erfc":
            raise UserError(
                "int8 is not possible for a network with exact GELU, such as a Vision Transformer: "
                "LiteRT cannot read the file that TensorFlow writes; use --precision float16"
            )
        for value in equation.params.values():
            inner = value.jaxpr if isinstance(value, core.ClosedJaxpr) else value
            if isinstance(inner, core.Jaxpr):
                _check_int8(inner)


def _archive(program: Program, model: bytes) -> bytes:
    buffer = io.BytesIO()
    metadata = {**program.metadata, _SHA256: hashlib.sha256(model).hexdigest()}
    labels = "".join(f"{name}\n" for name in program.metadata.get("class_names", ()))
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in ((_METADATA, metadata_text(metadata)), (_LABELS, labels)):
            archive.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


def read(path: Path) -> LoadedProgram:
    """Read a file; LiteRT runs the program on the CPU, one example at a time.

    Raises:
      UnreadableError: The file is damaged or has no metadata, or LiteRT cannot run its network.
      UserError: ai-edge-litert is not installed.
    """
    runtime = optional("ai_edge_litert.interpreter", _EXTRA)
    data, whole = read_bytes(path, MAX_DATA), False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if archive.getinfo(_METADATA).file_size > MAX_TEXT:
                raise ValueError("the metadata are too large")
            metadata = parse_json(archive.read(_METADATA), {"*": object})
            model = data[: min(entry.header_offset for entry in archive.infolist())]
        if metadata.get(_SHA256) not in (None, hashlib.sha256(model).hexdigest()):
            raise ValueError("the model does not have the SHA-256 in its metadata; export it again")
        whole = _SHA256 in metadata
        interpreter = runtime.Interpreter(model_content=data, num_threads=os.cpu_count())
        interpreter.allocate_tensors()
        [given], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    except Exception as error:  # of zipfile, JSON or LiteRT, for any damage
        problem = "is damaged, or not a file of `netzoo export --format litert`"
        if whole:
            version = importlib.metadata.version("ai-edge-litert")
            problem = f"is whole, but LiteRT {version} cannot run its network"
        raise UnreadableError(path, problem, error) from None

    def run(examples: np.ndarray) -> list[np.ndarray]:
        found = []
        for example in examples:
            interpreter.set_tensor(given["index"], example[None])
            interpreter.invoke()
            found.append(interpreter.get_tensor(result["index"])[0])
        return [np.stack(found)]

    return LoadedProgram(run, metadata)
