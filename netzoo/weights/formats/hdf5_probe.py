"""Reads all of an HDF5 file and keeps nothing, in a process of its own.

The HDF5 library may loop for ever, or crash, on a damaged file, and nothing within a process stops
that. As a program it is run by its path, so that nothing of netzoo is loaded:

    python netzoo/weights/formats/hdf5_probe.py FILE LARGEST
"""

import subprocess
import sys
from pathlib import Path

SECONDS, BYTES_A_SECOND = 8.0, 5_000_000  # for the start of the process; for reading


def probe(path: Path, largest: int) -> str | None:
    """Returns what the HDF5 library comes to on a file: None for an end, good or bad.

    Args:
      path: The file.
      largest: Datasets of more bytes are not read.
    """
    limit = SECONDS + path.stat().st_size / BYTES_A_SECOND
    # -P: the folder of this file, which is put into the search path otherwise, holds `files`,
    # `head` and more that would hide other modules.
    command = [sys.executable, "-P", __file__, str(path.absolute()), str(largest)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"the HDF5 library did not come to its end within {limit:.0f} s"
    if done.returncode < 0:
        return f"the HDF5 library crashed on it (signal {-done.returncode})"
    return None


def _read(group, largest: int, seen: set[int]) -> None:
    import h5py

    address = h5py.h5o.get_info(group.id).addr
    if address in seen:
        return
    seen.add(address)
    dict(group.attrs)
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            _read(item, largest, seen)
        elif item.dtype.kind in "fiub" and not item.external and not item.is_virtual:
            dict(item.attrs)
            if item.nbytes <= largest:
                item[()]


if __name__ == "__main__":
    import h5py

    with h5py.File(sys.argv[1], "r") as opened:
        _read(opened, int(sys.argv[2]), set())
