"""Runs the lines of docs/export.md that read a file, as somebody without netzoo would."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.pages.blocks import blocks_of

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
_BEFORE = """
import sys
import numpy as np
images = np.load("images.npy")
"""
_AFTER = """
assert not {forbidden} & {{*sys.modules}}
np.save("logits.npy", logits)
"""


def run_lines(marker: str, folder: Path, images: np.ndarray, forbidden: set[str]):
    """Run the block that contains `marker` in a folder that has the file `flowers.*`.

    Returns:
      The logits, and what the block prints. None of the modules `forbidden` was imported.
    """
    [code] = [block.code for block in blocks_of(PAGE) if marker in block.code]
    np.save(folder / "images.npy", images)
    # `-P` keeps the folder, and an empty environment keeps this checkout, off the import path.
    command = [sys.executable, "-P", "-c", _BEFORE + code + _AFTER.format(forbidden=forbidden)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={"JAX_PLATFORMS": "cpu"}
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "logits.npy"), done.stdout.strip()
