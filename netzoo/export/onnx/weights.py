"""The checksum of the weights of an ONNX file, and a check that the file itself holds them all."""

import hashlib
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import Message
from onnx import numpy_helper

WEIGHTS_SHA256 = "weights_sha256"  # key of the metadata


def weights_sha256(model: onnx.ModelProto) -> str:
    """Return the SHA-256 of the constants of a model: names, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda tensor: tensor.name):
        array = numpy_helper.to_array(tensor)
        digest.update(f"{tensor.name} {tensor.data_type} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_weights(model: onnx.ModelProto) -> None:
    """Check that a model holds its weights, and that they are those that netzoo wrote.

    A model without a checksum has another origin and is accepted.

    Raises:
      ValueError: Another file holds weights, or they differ from the checksum.
    """
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError(
                "other files hold its weights; write them into one file: "
                "onnx.save(onnx.load(path), new_path)"
            )
    written = {entry.key: entry.value for entry in model.metadata_props}.get(WEIGHTS_SHA256)
    if written is not None and written != weights_sha256(model):
        raise ValueError(
            "its weights do not have the SHA-256 in its metadata; export it again, or delete "
            f"{WEIGHTS_SHA256} from the metadata if a program has changed the weights on purpose"
        )


def _tensors(message: Message) -> Iterator[Any]:
    """Yield all tensors inside a message, also those in attributes of nodes."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in [value] if isinstance(value, Message) else value:
                yield from _tensors(part)
