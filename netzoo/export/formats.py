"""The file formats of exported programs. Each is a module with the functions `write` and `read`.

`write(file, program)` writes a `Program` to an open binary file, and `read(path)` returns a
`LoadedProgram`.
"""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from netzoo.errors import unknown_name
from netzoo.export.program import LoadedProgram


class Format(NamedTuple):
    """A file format."""

    module: str
    suffix: str  # of file names, from which `read_program` recognises the format
    packages: tuple[str, ...]  # packages that the format needs

    def load(self) -> ModuleType:
        """Import the module."""
        return importlib.import_module(self.module)


FORMATS = {
    "stablehlo": Format("netzoo.export.stablehlo", ".stablehlo", ("flatbuffers",)),
    "onnx": Format("netzoo.export.onnx", ".onnx", ("onnx", "onnxruntime")),
    "litert": Format("netzoo.export.litert", ".tflite", ("tensorflow", "ai_edge_litert")),
}


def installed_formats() -> list[str]:
    """Return the keys of the formats whose packages are installed."""
    found = importlib.util.find_spec
    return [name for name, known in FORMATS.items() if all(map(found, known.packages))]


def read_program(path: Path) -> LoadedProgram:
    """Read an exported file. The suffix of its name determines the format.

    Raises:
      UserError: The suffix is unknown, or the file is damaged.
      OSError: The file cannot be read.
    """
    by_suffix = {known.suffix: known for known in FORMATS.values()}
    if path.suffix not in by_suffix:
        raise unknown_name("suffix of an exported file", path.suffix or path.name, by_suffix)
    return by_suffix[path.suffix].load().read(path)
