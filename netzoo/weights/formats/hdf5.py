"""Traverses HDF5 files after another process has read them without a crash.

The HDF5 library may loop forever or crash on a damaged file, and its caller cannot prevent this.
The other process runs this file by its path, so that it imports nothing else of netzoo:

    python netzoo/weights/formats/hdf5.py FILE MAX_BYTES
"""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py

SECONDS, BYTES_A_SECOND = 8.0, 5_000_000  # to start the process; to read
SPARE = 1 << 29  # bytes of memory, besides the values


def probe(path: Path, max_bytes: int) -> str | None:
    """Read every dataset of at most `max_bytes` in another process, and discard the values.

    Returns:
      A description of the failure, or None.
    """
    limit = SECONDS + path.stat().st_size / BYTES_A_SECOND
    # Without -P, Python searches this file's folder first, where `torch` and `keras` shadow the
    # packages.
    command = [sys.executable, "-P", __file__, str(path.absolute()), str(max_bytes)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=limit
        )
    except subprocess.TimeoutExpired:
        return f"the HDF5 library did not finish within {limit:.0f} s"
    if done.returncode < 0:
        return f"the HDF5 library crashed on the file (signal {-done.returncode})"
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else None


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


def _read_all(path: str, max_bytes: int) -> None:
    """Read the attributes and the datasets of a file within a limit of memory."""
    # The values, a packed and an unpacked chunk, and what Python and NumPy take.
    memory = 3 * max_bytes + SPARE
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with h5py.File(path, "r") as file:
        dict(file.attrs)
        for _, item in items_below(file):
            dict(item.attrs)
            if isinstance(item, h5py.Dataset) and holds_numbers(item):
                item[()] if item.nbytes <= max_bytes else None


if __name__ == "__main__":
    try:
        _read_all(sys.argv[1], int(sys.argv[2]))
    except Exception as error:
        sys.exit(f"{error}")
