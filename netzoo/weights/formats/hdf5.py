"""Walks through HDF5 files, after another process has read them without harm.

The HDF5 library may loop for ever, or crash, on a damaged file, and nothing within a process stops
that. The other process runs this file by its path, so that nothing else of netzoo is loaded:

    python netzoo/weights/formats/hdf5.py FILE MAX_BYTES
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py

SECONDS, BYTES_A_SECOND = 8.0, 5_000_000  # for the start of the process; for reading


def probe(path: Path, max_bytes: int) -> str | None:
    """Reads all datasets of at most `max_bytes` in another process, and keeps nothing.

    Returns:
      What went wrong; None if the library returned, even with an error.
    """
    limit = SECONDS + path.stat().st_size / BYTES_A_SECOND
    # Without -P the folder of this file is searched for modules, and its `torch` and `keras` hide
    # the packages of these names.
    command = [sys.executable, "-P", __file__, str(path.absolute()), str(max_bytes)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"the HDF5 library did not finish within {limit:.0f} s"
    if done.returncode < 0:
        return f"the HDF5 library crashed on it (signal {-done.returncode})"
    return None


def items_below(
    group: h5py.Group, seen: set[int] | None = None
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yields groups and datasets by their paths below a group.

    Raises:
      ValueError: A link may lead elsewhere, or a group is in two places; Keras writes neither.
    """
    seen = set() if seen is None else seen
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link to somewhere else")
        item = group[name]
        yield name, item
        if isinstance(item, h5py.Group):
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise ValueError(f"{item.name} is in two places")
            seen.add(address)
            for path, inner in items_below(item, seen):
                yield f"{name}/{path}", inner


def holds_numbers(dataset: h5py.Dataset) -> bool:
    """Returns whether a dataset lies in the file itself and holds numbers."""
    in_file = not dataset.external and not dataset.is_virtual
    return in_file and dataset.dtype.kind in "fiub"


if __name__ == "__main__":
    with h5py.File(sys.argv[1], "r") as file:
        dict(file.attrs)
        for _, item in items_below(file):
            dict(item.attrs)
            if isinstance(item, h5py.Dataset) and holds_numbers(item):
                item[()] if item.nbytes <= int(sys.argv[2]) else None
