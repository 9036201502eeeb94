"""Random access to TFRecord files, without TensorFlow.

A record has its length (8 bytes), a checksum of the length (4 bytes), its data, and a checksum of
the data (4 bytes); numbers are little-endian. The checksums are masked CRC-32C
(https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
"""

import functools
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from netzoo.data.files import MAX_BYTES
from netzoo.data.source import SourceError
from netzoo.files import open_regular

_HEADER, _CHECKSUM = struct.Struct("<QI"), struct.Struct("<I")
_MAX_FILE = 1 << 46
_MASK = 0xA282EAD8


class TfRecords(Sequence[bytes]):
    """The records of parts of files, in order. Reading a record compares it with its checksum."""

    def __init__(self, parts: Sequence[tuple[Sequence[Path], Sequence[int], range]]):
        """Find the records of the files.

        Args:
          parts: For each part: its files, the number of records in each file, and the records to
            take. The latter are numbered through all files of the part.

        Raises:
          SourceError: A file is missing, damaged, or has another number of records.
        """
        self._files: list[Path] = []
        places: list[np.ndarray] = []
        for files, lengths, chosen in parts:
            starts = np.cumsum([0, *lengths]).tolist()
            for file, length, start in zip(files, lengths, starts, strict=False):
                first, last = max(chosen.start - start, 0), min(chosen.stop - start, length)
                if first < last:
                    self._files.append(file)
                    places.append(_record_places(file, length)[first:last])
        self._places = places
        self._ends = np.cumsum([0, *map(len, places)])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Any) -> Any:
        """Return the data of a record.

        Raises:
          SourceError: The file cannot be read.
          ValueError: The record is damaged.
        """
        number = int(np.searchsorted(self._ends, index, side="right")) - 1
        file = self._files[number]
        place, size = self._places[number][index - self._ends[number]].tolist()
        try:
            with open_regular(file, _MAX_FILE) as opened:
                opened.seek(place)
                data = opened.read(size + _CHECKSUM.size)
        except OSError as error:
            raise SourceError(f"Cannot read {file}: {error.strerror or error}.") from error
        if len(data) != size + _CHECKSUM.size or not _fits(data[:size], data[size:]):
            raise ValueError(f"its data do not have the checksum in {file.name}")
        return data[:size]


def _record_places(file: Path, length: int) -> np.ndarray:
    """Return the place and the size of the data of each record, int64 `[length, 2]`."""
    try:
        status = os.stat(file)
        places = _scan(file, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise SourceError(f"Cannot read {file}: {error.strerror or error}.") from error
    if len(places) != length:
        raise SourceError(
            f"{file} has {len(places):,} records; expected {length:,}. Copy or prepare the data "
            "set again."
        )
    return places


@functools.lru_cache(maxsize=4096)  # the splits of a run are often parts of the same files
def _scan(file: Path, size: int, mtime_ns: int) -> np.ndarray:
    """Read the lengths of all records of a file that has not changed since `mtime_ns`."""
    places = []
    with open_regular(file, _MAX_FILE) as opened:
        place = 0
        while place < size:
            opened.seek(place)
            header = opened.read(_HEADER.size)
            intact = len(header) == _HEADER.size and _fits(header[:8], header[8:])
            count = _HEADER.unpack(header)[0] if intact else 0
            if not intact or count > min(MAX_BYTES, size - place - _HEADER.size - _CHECKSUM.size):
                raise SourceError(
                    f"{file} is damaged or compressed at byte {place:,}; expected a record of "
                    "TFRecord. Copy or prepare the data set again."
                )
            places.append((place + _HEADER.size, count))
            place += _HEADER.size + count + _CHECKSUM.size
    return np.array(places, np.int64).reshape(-1, 2)


def _fits(data: bytes, stored: bytes) -> bool:
    """Return whether data have the stored checksum."""
    return _CHECKSUM.pack(masked_checksum(data)) == stored


def masked_checksum(data: bytes) -> int:
    """Return the masked CRC-32C of TFRecord files."""
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + _MASK) & 0xFFFFFFFF
