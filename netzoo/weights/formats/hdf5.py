"""Traverses HDF5 files that another process has first read safely.

The HDF5 library may loop forever or crash on a damaged file, and its caller cannot prevent this.
The other process runs this file by its path, so that it imports nothing else of netzoo:

    python netzoo/weights/formats/hdf5.py FILE MAX_BYTES
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py

SECONDS, BYTES_A_SECOND = 8.0, 5_000_000  # to start the process; to read


def probe(path: Path, max_bytes: int) -> str | None:
    """Read all datasets of at most `max_bytes` in another process, and discard them.

    Returns:
      A description of the failure; None if the library returned, even with an error.
    """
    limit = SECONDS + path.stat().st_size / BYTES_A_SECOND
    # Without -P, Python searches this file's folder first, where `torch` and `keras` shadow the
    # packages.
    command = [sys.executable, "-P", __file__, str(path.absolute()), str(max_bytes)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"the HDF5 library did not finish within {limit:.0f} s"
    if done.returncode < 0:
        return f"the HDF5 library crashed on the file (signal {-done.returncode})"
    return None


def items_below(
    group: h5py.Group, seen: set[int] | None = None
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yield the paths below a group, with their groups and datasets.

    Raises:
      ValueError: A link is not a hard link, or a group is in two places; Keras writes neither.
    """
    seen = set() if seen is None else seen
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a soft or external link")
        item = group[name]
        yield name, item
        if isinstance(item, h5py.Group):
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise ValueError(f"{item.name} has two names")
            seen.add(address)
            for path, inner in items_below(item, seen):
                yield f"{name}/{path}", inner


def holds_numbers(dataset: h5py.Dataset) -> bool:
    """Return whether a dataset is stored in the file itself and holds numbers."""
    in_file = not dataset.external and not dataset.is_virtual
    return in_file and dataset.dtype.kind in "fiub"


if __name__ == "__main__":
    with h5py.File(sys.argv[1], "r") as file:
        dict(file.attrs)
        for _, item in items_below(file):
            dict(item.attrs)
            if isinstance(item, h5py.Dataset) and holds_numbers(item):
                item[()] if item.nbytes <= int(sys.argv[2]) else None
