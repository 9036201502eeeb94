"""Prepares a TFDS data set for reading without TensorFlow, from the network or from local files.

netzoo prepare tf_flowers
netzoo prepare tf_flowers --from flower_photos.tgz
netzoo prepare synthetic_flowers

`netzoo check tfds:tf_flowers` then decodes every image.
"""

import argparse
import collections
import io
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Self

import tensorflow_datasets as tfds

from netzoo.data.decode import check_header
from netzoo.data.files import MAX_BYTES, files_below, open_file
from netzoo.data.source import SourceError, warn
from netzoo.data.sources.open import SYNTHETIC
from netzoo.data.sources.tfds import download_and_prepare, find_builder, open_builder
from netzoo.errors import UserError, printable

FLOWERS = "tf_flowers"
FLOWERS_EXAMPLES = 3670
_ARCHIVES = (".tgz", ".tar.gz", ".tar", ".zip")
# Types of members that describe the next member, and that tarfile reads into memory.
_DESCRIPTIONS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_MAX_DESCRIPTION = 1 << 20  # bytes


def prepare(name: str, origin: str | None, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """Prepares a data set, unless it is prepared already, and returns its builder.

    `origin` is a folder or archive to read tf_flowers from instead of the network; `data_dir` None
    is TFDS's default.

    Raises:
      SourceError: The name is unknown, or the local files are not as expected.
      DatasetNotFoundError: The data set cannot be downloaded.
    """
    if name == SYNTHETIC:
        from netzoo.data.sources.synthetic.builder import prepare as prepare_synthetic

        return prepare_synthetic(data_dir)
    if origin is not None and name != FLOWERS:
        raise SourceError(
            f"--from reads {FLOWERS} only; for other local images use the source folder:PATH."
        )
    if origin is None:
        return open_builder(name, data_dir)
    builder = find_builder(name, data_dir)
    if not builder.info.splits:
        _prepare_flowers(builder, Path(origin).expanduser())
    return builder


def count_classes(builder: tfds.core.DatasetBuilder) -> dict[str, dict[str, int]]:
    """Returns the number of examples of each class, for each split, in label order."""
    names = builder.info.features["label"].names
    counts = {}
    for split in builder.info.splits:
        records = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        labels = collections.Counter(int(record["label"]) for record in records)
        counts[split] = {name: labels[label] for label, name in enumerate(names)}
    return counts


def _prepare_flowers(builder: tfds.core.DatasetBuilder, origin: Path) -> None:
    """Has TFDS's own builder of tf_flowers read local files instead of the downloaded archive.

    The keys of the examples (`class/file.jpg`), and with them the order and every split, are those
    of a downloaded data set, wherever the files lie. TFDS has no option for this, so the builder's
    method that would download is replaced.
    """
    names = builder.info.features["label"].names
    examples = builder._generate_examples(_photographs(origin, _members(origin), names))
    builder._split_generators = lambda dl_manager: {"train": examples}
    tfds.disable_progress_bar()  # it takes seconds
    try:
        with tempfile.TemporaryDirectory() as unused:
            download_and_prepare(builder, download_dir=unused)
    finally:
        del builder._split_generators


def _photographs(
    origin: Path, members: Iterator[tuple[str, IO[bytes]]], class_names: list[str]
) -> Iterator[tuple[str, IO[bytes]]]:
    """Yields the name and the file of every photograph among the members of `origin`.

    Raises:
      SourceError: The archive is damaged, has an unexpected class folder, or holds no photographs.
      ImageError: A photograph is not an image.
    """
    count = 0
    try:
        for name, file in members:
            path = PurePosixPath(name)
            if not name.endswith(".jpg") or path.name.startswith("."):
                continue
            if path.parent.name.lower() not in class_names:
                raise SourceError(
                    f"{origin} holds {printable(name)}; expected photographs in folders named "
                    f"{', '.join(class_names)}."
                )
            # Read here: where TFDS read, it would make damage its own, longer error.
            data = file.read()
            check_header(io.BytesIO(data), name)  # an error now, not in the middle of a training
            count += 1
            yield name, io.BytesIO(data)
    except UserError:
        raise
    except Exception as error:  # a dozen types of three modules, for damage
        raise SourceError(f"{origin} is damaged or no archive ({error}); fetch it anew.") from error
    if not count:
        raise SourceError(f"{origin} holds no photographs; expected flower_photos/CLASS/NAME.jpg.")


def _members(origin: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Returns the members of a folder or an archive, which is read in order and never unpacked."""
    if not origin.exists():
        raise SourceError(f"{origin} does not exist; expected flower_photos.tgz or its folder.")
    if origin.is_dir():
        return _folder_members(origin)
    name = origin.name.lower()
    if not origin.is_file() or not name.endswith(_ARCHIVES):
        raise SourceError(f"{origin} is neither a folder nor an archive ({', '.join(_ARCHIVES)}).")
    return _zip_members(origin) if name.endswith(".zip") else _tar_members(origin)


def _folder_members(folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    # Resolved, so that the folder of one class is told by its own name even if given as ".".
    for path in sorted(files_below(folder.resolve())):
        if path.name.endswith(".jpg"):
            with open_file(path, path.as_posix()) as file:
                yield path.as_posix(), file


class _TarInfo(tarfile.TarInfo):
    """A member of a tar archive, refused before it is read if it claims to be huge."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Reads a header."""
        member = super().frombuf(buf, encoding, errors)
        limit = _MAX_DESCRIPTION if member.type in _DESCRIPTIONS else MAX_BYTES
        _check_member(member.name, member.size, limit)
        return member


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, "r|*", tarinfo=_TarInfo) as tar:
        for member in tar:
            _check_member(member.name, member.size, MAX_BYTES)  # descriptions may have changed it
            if member.isfile() and (file := tar.extractfile(member)):
                yield member.name, file


def _check_member(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise SourceError(
            f"{printable(name)} claims to have {size:,} bytes, over the limit of {limit:,}; fetch "
            "the archive anew."
        )


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            if not member.is_dir():
                _check_member(member.filename, member.file_size, MAX_BYTES)
                with zipped.open(member) as file:
                    yield member.filename, file


def main(arguments: Sequence[str]) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="netzoo prepare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", help="a TFDS data set, such as tf_flowers, or synthetic_flowers")
    origin = "for tf_flowers: flower_photos.tgz (.tar, .zip) or its folder, instead of the network"
    parser.add_argument("--from", dest="origin", metavar="ARCHIVE_OR_FOLDER", help=origin)
    parser.add_argument("--data-dir", help="where to put it (default: ~/tensorflow_datasets)")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    builder = prepare(options.name, options.origin, options.data_dir)
    seconds = time.perf_counter() - start
    print(f"{builder.info.full_name} is ready in {builder.data_dir} ({seconds:.1f} s)")
    counts_of_splits = count_classes(builder) if "label" in builder.info.features else {}
    for split, counts in counts_of_splits.items():
        total = sum(counts.values())
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        print(f"{split}: {total:,} examples: {listed}")
        if builder.name == FLOWERS and total != FLOWERS_EXAMPLES:
            warn(
                f"Warning: expected {FLOWERS_EXAMPLES:,} photographs, found {total:,}: this is "
                "not the published data set, and its splits and accuracies cannot be compared. "
                f"To prepare it anew, remove {builder.data_dir} first."
            )
