"""Makes the archives of `reliability.hostile_files`; each also holds one valid photograph."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from reliability.hostile_images import encoded, picture

CLAIMED = 1 << 40  # bytes


def _member(name: str, kind: bytes = tarfile.REGTYPE, **values) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    for key, value in values.items():
        setattr(member, key, value)
    return member


def _tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> None:
    jpeg = encoded(picture(), "JPEG")
    with tarfile.open(path, mode, format=tarfile.GNU_FORMAT) as tar:
        for member, data in [(_member("flower_photos/roses/good.jpg"), jpeg), *members]:
            if member.isfile():
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _claiming(path: Path, kind: bytes, name: str = "flower_photos/roses/huge.jpg") -> None:
    """Write a member whose header claims `CLAIMED` bytes, although it has only 1 MiB."""
    _tar(path)
    header = _member(name, kind, size=CLAIMED).tobuf(tarfile.GNU_FORMAT)
    with path.open("r+b") as file:
        file.seek(512 + 512 * -(-len(encoded(picture(), "JPEG")) // 512))
        file.write(header + bytes(1 << 20))
        file.truncate()


def _zeros(path: Path, size: int) -> None:
    """Write a compressed photograph of `size` zeros."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(_member("flower_photos/roses/zeros.jpg", size=size).tobuf())
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))


def _zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("flower_photos/roses/zeros.jpg", "w", force_zip64=True) as file:
            for _ in range(600):
                file.write(bytes(1 << 20))
        archive.writestr("flower_photos/roses/good.jpg", encoded(picture(), "JPEG"))


def _encrypted(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("flower_photos/roses/good.jpg", encoded(picture(), "JPEG"))
    data = bytearray(path.read_bytes())
    for marker, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", data, data.index(marker) + offset, 1)
    path.write_bytes(data)


def _truncated(path: Path) -> None:
    _tar(path, mode="w:gz")
    path.write_bytes(path.read_bytes()[:-200])


def archives(escape: Path) -> dict[str, Callable[[Path], None]]:
    """Return the functions that write the archives, by name.

    Args:
      escape: The path of absolute members; nothing may appear there.
    """
    jpeg = encoded(picture(seed=1), "JPEG")
    link = {"linkname": str(escape)}
    return {
        "good.tgz": lambda path: _tar(path, mode="w:gz"),
        "parent_members.tar": lambda path: _tar(path, (_member("../../roses/escaped.jpg"), jpeg)),
        "absolute_members.tar": lambda path: _tar(
            path, (_member(str(escape / "roses" / "escaped.jpg")), jpeg)
        ),
        "symlink_members.tar": lambda path: _tar(
            path,
            (_member("flower_photos/roses/link", tarfile.SYMTYPE, **link), b""),
            (_member("flower_photos/roses/link/roses/escaped.jpg"), jpeg),
        ),
        "device_members.tar": lambda path: _tar(
            path,
            (_member("flower_photos/roses/zero.jpg", tarfile.CHRTYPE, devmajor=1, devminor=5), b""),
            (_member("flower_photos/roses/fifo.jpg", tarfile.FIFOTYPE), b""),
        ),
        "huge_member.tar": lambda path: _claiming(path, tarfile.REGTYPE),
        "huge_header.tar": lambda path: _claiming(path, tarfile.XHDTYPE),
        "huge_name.tar": lambda path: _claiming(path, tarfile.GNUTYPE_LONGNAME),
        "zeros_400_mib.tgz": lambda path: _zeros(path, 400 << 20),
        "zeros_600_mib.zip": _zip_bomb,
        "encrypted.zip": _encrypted,
        "text_as_photograph.tar": lambda path: _tar(
            path, (_member("flower_photos/roses/text.jpg"), b"This is a text.\n")
        ),
        "wrong_class.tar": lambda path: _tar(path, (_member("flower_photos/weeds/x.jpg"), jpeg)),
        "truncated.tgz": _truncated,
        "text.tgz": lambda path: path.write_text("This is a text.\n"),
        "text.zip": lambda path: path.write_text("This is a text.\n"),
        "empty.tar": lambda path: path.write_bytes(b""),
        "fifo.tar": os.mkfifo,
    }
