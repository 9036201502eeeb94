"""Prepares a TFDS data set for reading without TensorFlow, from the network or from local files.

python -m netzoo.cli.prepare tf_flowers
python -m netzoo.cli.prepare tf_flowers --from flower_photos.tgz
python -m netzoo.cli.prepare synthetic_flowers

`python -m netzoo.cli.check tfds:tf_flowers` then decodes every image.
"""

import argparse
import collections
import io
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import tensorflow_datasets as tfds
from rich.console import Console

from netzoo.data.decode import check_header
from netzoo.data.files import MAX_BYTES, files_below, open_file, printable
from netzoo.data.source import SourceError
from netzoo.data.sources.open import SYNTHETIC
from netzoo.data.sources.tfds import FILE_FORMAT, download, find_builder
from netzoo.errors import UserError

FLOWERS = "tf_flowers"
FLOWERS_EXAMPLES = 3670
_ARCHIVES = (".tgz", ".tar.gz", ".tar", ".zip")
# Of members that only describe the next one, and that tarfile reads into memory.
_DESCRIPTIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MAX_DESCRIPTION = 1 << 20  # bytes


def prepare(name: str, origin: str | None, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """Prepares a data set, unless it is prepared already.

    Args:
      name: A TFDS data set, or `synthetic_flowers`.
      origin: Folder or archive to read tf_flowers from instead of the network.
      data_dir: Where to put it; None is TFDS's default.

    Returns:
      The builder, prepared.

    Raises:
      SourceError: On an unknown name or unusable local files.
      DatasetNotFoundError: If the download is not possible.
    """
    if name == SYNTHETIC:
        from netzoo.data.sources.synthetic import builder

        return builder.prepare(data_dir)
    if origin is not None and name != FLOWERS:
        raise SourceError(
            f"--from reads {FLOWERS} only; for other local images use the source folder:PATH."
        )
    builder = find_builder(name, data_dir)
    if builder.info.splits:
        return builder
    if origin is None:
        download(builder)
    else:
        _prepare_flowers(builder, Path(origin).expanduser())
    return builder


def count_classes(builder: tfds.core.DatasetBuilder) -> dict[str, dict[str, int]]:
    """Returns the number of examples of each class, for each split, in label order."""
    names = builder.info.features["label"].names
    counts = {}
    for split in builder.info.splits:
        records = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        found = collections.Counter(int(record["label"]) for record in records)
        counts[split] = {name: found[label] for label, name in enumerate(names)}
    return counts


class LocalFlowers:
    """Takes the place of TFDS's download manager, and hands over local files as the archive's.

    The builder stays TFDS's own, so the keys of the examples (`class/file.jpg`), and with them
    the order and every split, are those of a downloaded data set, wherever the files lie. An
    archive is read member by member and never unpacked, so none of it can land elsewhere.
    """

    downloaded_size = 0
    register_checksums = False

    def __init__(self, origin: Path, class_names: list[str]):
        """Checks that `origin` is a folder or an archive; raises SourceError if not."""
        if not origin.exists():
            raise SourceError(f"{origin} does not exist; expected flower_photos.tgz or its folder.")
        is_archive = origin.is_file() and origin.name.lower().endswith(_ARCHIVES)
        if not origin.is_dir() and not is_archive:
            raise SourceError(
                f"{origin} is neither a folder nor an archive ({', '.join(_ARCHIVES)})."
            )
        self._origin = origin
        self._class_names = class_names

    def download(self, url: str) -> str:
        """Downloads nothing; returns the address, which only `iter_archive` sees again."""
        return url

    def iter_archive(self, path: str) -> Iterator[tuple[str, IO[bytes]]]:
        """Yields the name and the open file of every photograph.

        Raises:
          SourceError: On an unexpected class folder, a damaged archive, or no photographs.
          ImageError: If a photograph is not an image.
        """
        del path
        found = False
        for name, data in self._photographs():
            member = PurePosixPath(name)
            if member.parent.name.lower() not in self._class_names:
                raise SourceError(
                    f"{self._origin} holds {printable(name)}; expected photographs in "
                    f"folders named {', '.join(self._class_names)}."
                )
            # What is no picture is named now, and not in the middle of a training.
            check_header(io.BytesIO(data), name)
            found = True
            yield name, io.BytesIO(data)
        if not found:
            raise SourceError(
                f"{self._origin} holds no photographs; expected flower_photos/CLASS/NAME.jpg."
            )

    def _photographs(self) -> Iterator[tuple[str, bytes]]:
        if self._origin.is_dir():
            members = _folder_members(self._origin)
        elif self._origin.name.lower().endswith(".zip"):
            members = _zip_members(self._origin)
        else:
            members = _tar_members(self._origin)
        try:
            for name, file in members:
                if name.endswith(".jpg") and not PurePosixPath(name).name.startswith("."):
                    # Read here: where TFDS read, it would make damage its own, longer error.
                    yield name, file.read()
        except UserError:
            raise
        except Exception as error:  # a dozen types of three modules, for damage
            raise SourceError(
                f"{self._origin} is damaged or no archive ({error}); fetch it anew."
            ) from error


def _folder_members(folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    # Resolved, so that the folder of one class is told by its own name even if given as ".".
    for path in sorted(files_below(folder.resolve())):
        if path.name.endswith(".jpg"):
            with open_file(path, path.as_posix()) as file:
                yield path.as_posix(), file


class _TarInfo(tarfile.TarInfo):
    """A member of a tar archive, refused before it is read if it claims to be huge."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
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


def _prepare_flowers(builder: tfds.core.DatasetBuilder, origin: Path) -> None:
    local = LocalFlowers(origin, builder.info.features["label"].names)
    builder._make_download_manager = lambda **kwargs: local
    tfds.disable_progress_bar()  # it takes seconds
    try:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            file_format=FILE_FORMAT,
        )
    finally:
        del builder._make_download_manager


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m netzoo.cli.prepare", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", help="a TFDS data set, such as tf_flowers, or synthetic_flowers")
    parser.add_argument(
        "--from",
        dest="origin",
        metavar="ARCHIVE_OR_FOLDER",
        help="tf_flowers only: read flower_photos.tgz (.tar, .zip), or its folder, not the network",
    )
    parser.add_argument("--data-dir", help="where to put it (default: ~/tensorflow_datasets)")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        builder = prepare(options.name, options.origin, options.data_dir)
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    _report(builder, time.perf_counter() - start)
    return 0


def _report(builder: tfds.core.DatasetBuilder, seconds: float) -> None:
    print(f"{builder.info.full_name} is ready in {builder.data_dir} ({seconds:.1f} s)")
    if "label" not in builder.info.features:
        return
    for split, counts in count_classes(builder).items():
        total = sum(counts.values())
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        print(f"{split}: {total:,} examples: {listed}")
        if builder.name == FLOWERS and total != FLOWERS_EXAMPLES:
            Console(stderr=True).print(
                f"Warning: expected {FLOWERS_EXAMPLES:,} photographs, found {total:,}: this is "
                "not the published data set, and its splits and accuracies cannot be compared. "
                f"To prepare it anew, remove {builder.data_dir} first.",
                style="yellow",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


if __name__ == "__main__":
    sys.exit(main())
