"""Mutates valid files at random, like damage or an attacker would."""

import io
import re
import zipfile
import zlib

import numpy as np

Random = np.random.Generator
# Values for length fields and counts.
_LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)
_LONG_LENGTHS = (*_LENGTHS, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
_NUMBERS = (b"0", b"-1", b"1", b"4294967296", b"9223372036854775807", b"1e308", b"NaN", b"null")
_PNG_START = b"\x89PNG\r\n\x1a\n"


def mutate(data: bytes, others: list[bytes], random: Random) -> bytes:
    """Return `data` with one to four changes.

    Args:
      data: A valid file.
      others: Valid files from which pieces are taken.
      random: The only source of randomness.
    """
    if data.startswith(b"PK\x03\x04") and random.random() < 0.7:
        return _mutate_member(data, others, random)
    for _ in range(random.integers(1, 5)):
        change = _CHANGES[random.integers(len(_CHANGES))]
        data = change(data, others, random)
    if data.startswith(_PNG_START) and random.random() < 0.7:
        data = _with_png_checksums(data)
    return data


def _place(data: bytes, random: Random) -> int:
    """Return a position, with probability 1/2 in the first 256 bytes, where headers are."""
    end = min(len(data), 256) if random.random() < 0.5 else len(data)
    return int(random.integers(max(end, 1)))


def _flip(data: bytes, others: list[bytes], random: Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(random.integers(1, 9)):
        changed[_place(changed, random)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _set(data: bytes, others: list[bytes], random: Random) -> bytes:
    changed = bytearray(data or b"\0")
    changed[_place(changed, random)] = int(random.integers(256))
    return bytes(changed)


def _truncate(data: bytes, others: list[bytes], random: Random) -> bytes:
    return data[: _place(data, random)]


def _insert(data: bytes, others: list[bytes], random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + random.bytes(int(random.integers(1, 33))) + data[at:]


def _delete(data: bytes, others: list[bytes], random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + data[at + int(random.integers(1, 33)) :]


def _repeat(data: bytes, others: list[bytes], random: Random) -> bytes:
    at = _place(data, random)
    piece = data[at : at + int(random.integers(1, 257))]
    return data[:at] + piece * int(random.integers(2, 200)) + data[at:]


def _splice(data: bytes, others: list[bytes], random: Random) -> bytes:
    other = others[random.integers(len(others))]
    start = _place(other, random)
    at = _place(data, random)
    return data[:at] + other[start : start + int(random.integers(1, 1025))] + data[at:]


def _length(data: bytes, others: list[bytes], random: Random) -> bytes:
    """Put a boundary value where a field of 2, 4 or 8 bytes may be."""
    width = (2, 4, 8)[random.integers(3)]
    values = _LONG_LENGTHS if width == 8 else [n for n in _LENGTHS if n < 1 << 8 * width]
    value = values[random.integers(len(values))]
    at = _place(data, random)
    order = ("little", "big")[random.integers(2)]
    return data[:at] + value.to_bytes(width, order) + data[at + width :]


def _number(data: bytes, others: list[bytes], random: Random) -> bytes:
    """Replace a number written as text, as in JSON."""
    found = list(re.finditer(rb"\d+", data[:4096]))
    if not found:
        return data
    match = found[random.integers(len(found))]
    value = _NUMBERS[random.integers(len(_NUMBERS))]
    return data[: match.start()] + value + data[match.end() :]


_CHANGES = (_flip, _set, _truncate, _insert, _delete, _repeat, _splice, _length, _number)


def _mutate_member(data: bytes, others: list[bytes], random: Random) -> bytes:
    """Change one member of a zip archive, and write the archive with the right checksums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(entry, archive.read(entry)) for entry in archive.infolist()]
    chosen = int(random.integers(len(members)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index, (entry, content) in enumerate(members):
            if index == chosen:
                content = _CHANGES[random.integers(len(_CHANGES))](content, others, random)
            archive.writestr(entry.filename, content, entry.compress_type)
    return buffer.getvalue()


def _with_png_checksums(data: bytes) -> bytes:
    """Return a PNG whose chunks have the checksums of their contents."""
    pieces, at = [_PNG_START], len(_PNG_START)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        if at + 12 + length > len(data):
            break
        body = data[at + 4 : at + 8 + length]
        pieces.append(data[at : at + 4] + body + zlib.crc32(body).to_bytes(4))
        at += 12 + length
    return b"".join(pieces) + data[at:]
