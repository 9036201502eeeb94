"""Prepares a TFDS data set from the network or from local files, without TensorFlow.

netzoo prepare tf_flowers
netzoo prepare tf_flowers --from flower_photos.tgz
netzoo prepare synthetic_flowers

`netzoo check tfds:tf_flowers` then decodes every image.
"""

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

from netzoo.cli.arguments import Parser
from netzoo.console import say
from netzoo.data.decode import check_header
from netzoo.data.files import MAX_BYTES, images_below, is_image, open_file
from netzoo.data.source import SourceError
from netzoo.data.sources.open import SYNTHETIC
from netzoo.data.sources.tfds import download_and_prepare, find_builder, open_builder, preparing
from netzoo.errors import UserError, note, printable
from netzoo.paths import user_path

FLOWERS = "tf_flowers"
FLOWERS_EXAMPLES = 3670
_ARCHIVES = (".tgz", ".tar.gz", ".tar", ".zip")
# Members that describe the next member, and that tarfile reads into memory.
_DESCRIPTIONS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_MAX_DESCRIPTION = 1 << 20  # bytes


def prepare(name: str, origin: str | None, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """Prepare a data set unless it is already prepared, and return its builder.

    `origin` is a folder or archive of tf_flowers to read instead of downloading. If `data_dir` is
    None, TFDS's default is used.

    Raises:
      SourceError: The name is unknown, or the local files are invalid.
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
    path = user_path(origin)
    builder = find_builder(name, data_dir)
    if builder.info.splits:
        return builder
    with preparing(builder) as absent:
        if absent:
            _prepare_flowers(builder, path)
    return builder if absent else find_builder(name, data_dir)


def count_classes(builder: tfds.core.DatasetBuilder) -> dict[str, dict[str, int]]:
    """Return the number of examples per split and class, in label order."""
    names = builder.info.features["label"].names
    counts = {}
    for split in builder.info.splits:
        records = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        labels = collections.Counter(int(record["label"]) for record in records)
        counts[split] = {name: labels[label] for label, name in enumerate(names)}
    return counts


def _prepare_flowers(builder: tfds.core.DatasetBuilder, origin: Path) -> None:
    """Make TFDS's builder of tf_flowers read local files instead of downloading.

    The keys of the examples (`class/file.jpg`), and therefore the order and the splits, are those
    of a downloaded data set. TFDS has no option for this, so the builder's download method is
    replaced.
    """
    names = builder.info.features["label"].names
    examples = builder._generate_examples(_photographs(origin, _members(origin), names))
    builder._split_generators = lambda dl_manager: {"train": examples}
    tfds.disable_progress_bar()  # preparing takes only seconds
    try:
        with tempfile.TemporaryDirectory() as unused:
            download_and_prepare(builder, download_dir=unused)
    finally:
        del builder._split_generators


def _photographs(
    origin: Path, members: Iterator[tuple[str, IO[bytes]]], class_names: list[str]
) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the file of every photograph in `origin`.

    Raises:
      SourceError: The archive is damaged, has an unexpected class folder, or contains no
        photographs.
      ImageError: A photograph is not an image.
    """
    count = 0
    try:
        for name, file in members:
            if not name.endswith(".jpg"):
                continue  # as in TFDS
            if PurePosixPath(name).parent.name.lower() not in class_names:
                raise SourceError(
                    f"{origin} holds {printable(name)}; expected photographs in folders named "
                    f"{', '.join(class_names)}."
                )
            # Read here, because TFDS would wrap errors of damaged archives.
            data = file.read()
            check_header(io.BytesIO(data), name)  # fail now, not during training
            count += 1
            yield name, io.BytesIO(data)
    except UserError:
        raise
    except Exception as error:  # three modules raise many types for damaged files
        raise SourceError(
            f"{origin} is damaged or not an archive ({error}); download it again."
        ) from error
    if not count:
        raise SourceError(f"{origin} holds no photographs; expected flower_photos/CLASS/NAME.jpg.")


def _members(origin: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Return the images of a folder or an archive; archives are streamed, not unpacked."""
    if not origin.exists():
        raise SourceError(
            f"{origin} does not exist; expected flower_photos.tgz or the folder unpacked from it."
        )
    if origin.is_dir():
        return _folder_members(origin)
    name = origin.name.lower()
    if not origin.is_file() or not name.endswith(_ARCHIVES):
        raise SourceError(f"{origin} is neither a folder nor an archive ({', '.join(_ARCHIVES)}).")
    return _zip_members(origin) if name.endswith(".zip") else _tar_members(origin)


def _folder_members(folder: Path) -> Iterator[tuple[str, IO[bytes]]]:
    # Resolved, so that even "." has the name of its class folder.
    for path in sorted(images_below(folder.resolve())[0]):
        with open_file(path, path.as_posix()) as file:
            yield path.as_posix(), file


class _TarInfo(tarfile.TarInfo):
    """A member of a tar archive, which is rejected before reading if it declares a huge size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header."""
        member = super().frombuf(buf, encoding, errors)
        limit = _MAX_DESCRIPTION if member.type in _DESCRIPTIONS else MAX_BYTES
        _check_member(member.name, member.size, limit)
        return member


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, "r|*", tarinfo=_TarInfo) as tar:
        for member in tar:
            _check_member(member.name, member.size, MAX_BYTES)  # a description may change the size
            wanted = member.isfile() and is_image(PurePosixPath(member.name))
            if wanted and (file := tar.extractfile(member)):
                yield member.name, file


def _check_member(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise SourceError(
            f"{printable(name)} claims to have {size:,} bytes, over the limit of {limit:,}; get "
            "the archive again."
        )


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            if is_image(PurePosixPath(member.filename)) and not member.is_dir():
                _check_member(member.filename, member.file_size, MAX_BYTES)
                with zipped.open(member) as file:
                    yield member.filename, file


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    parser = Parser(prog="netzoo prepare", description=__doc__)
    parser.add_argument("name", help="a TFDS data set, such as tf_flowers, or synthetic_flowers")
    origin = (
        "for tf_flowers: flower_photos.tgz (.tar, .zip) or the folder unpacked from it, instead of "
        "a download"
    )
    parser.add_argument("--from", dest="origin", metavar="ARCHIVE_OR_FOLDER", help=origin)
    parser.add_argument("--data-dir", help="TFDS folder (default: ~/tensorflow_datasets)")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    builder = prepare(options.name, options.origin, options.data_dir)
    seconds = time.perf_counter() - start
    say(f"{builder.info.full_name} is ready in {builder.data_dir} ({seconds:.1f} s)")
    counts_of_splits = count_classes(builder) if "label" in builder.info.features else {}
    for split, counts in counts_of_splits.items():
        total = sum(counts.values())
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        say(f"{split}: {total:,} examples: {listed}")
        if builder.name == FLOWERS and total != FLOWERS_EXAMPLES:
            note(
                f"Warning: expected {FLOWERS_EXAMPLES:,} photographs, found {total:,}: this is "
                "not the published data set, and its splits and accuracies are not comparable. "
                f"To prepare it again, first remove {builder.data_dir}."
            )
