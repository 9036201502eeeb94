"""Reads sentence pairs from a source by its specification."""

import functools
import gzip
import io
import re
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from netzoo.data.source import SourceError
from netzoo.data.sources import tfds as tfds_source
from netzoo.data.splits import resolve_split, split_aliases
from netzoo.errors import did_you_mean
from netzoo.files import MAX_DATA, read_bytes
from netzoo.limits import max_unpacked
from netzoo.paths import user_path
from netzoo.tasks.translation.number_words import SPLIT_SIZES, number_pairs

NUMBER_WORDS = "number_words"
_GZIP = b"\x1f\x8b"  # first bytes of gzip files, RFC 1952, section 2.3.1
_PLACE = re.compile(r"(parallel|tfds):(.+)\.\{([^{},\s]+),([^{},\s]+)\}")

Pair = tuple[str, str]  # a sentence and its translation


def read_pairs(spec: str, split: str, data_dir: str | None = None) -> list[Pair]:
    """Read sentence pairs.

    Args:
      spec: `number_words` for computed pairs; `parallel:FOLDER.{en,de}` for files with one sentence
        per line, where the first language in braces is the source; or `tfds:NAME.{en,de}` for a
        translation data set of TensorFlow Datasets.
      split: A TFDS split expression, such as `train[:90%]`. The splits of a folder are the stems of
        its files; `val` and `validation` are aliases if only one exists.
      data_dir: Folder of prepared TFDS data sets; None for TFDS's default.

    Returns:
      The pairs, including those with an empty side, in a fixed order.

    Raises:
      SourceError: The specification, a language or the split is unknown; or the files of the two
        languages differ in length or cannot be read.
      DatasetNotFoundError: A TFDS data set is not prepared and cannot be downloaded.
    """
    if spec == NUMBER_WORDS:
        return _select({name: number_pairs(name) for name in SPLIT_SIZES}, split)
    kind, place, source, target = _place(spec)
    if kind == "parallel":
        return _read_folder(user_path(place), source, target, split)
    return _read_tfds(tfds_source.open_builder(place, data_dir), source, target, split)


def split_sizes(spec: str, data_dir: str | None = None) -> Mapping[str, Callable[[], int]]:
    """Return, for each split of a source, a function that counts the split's pairs.

    Raises:
      SourceError: See `read_pairs`.
      DatasetNotFoundError: See `read_pairs`.
    """
    if spec == NUMBER_WORDS:
        return {name: functools.partial(int, size) for name, size in SPLIT_SIZES.items()}
    kind, place, *languages = _place(spec)
    if kind == "parallel":

        def count(paths: tuple[Path, Path]) -> int:
            return len(_read_files(*paths))

        files = _split_files(user_path(place), *languages)
        return {name: functools.partial(count, paths) for name, paths in files.items()}
    return tfds_source.split_sizes(tfds_source.open_builder(place, data_dir))


def target_language(spec: str) -> str | None:
    """Return the target language of a source, or None for computed numbers."""
    return None if spec == NUMBER_WORDS else _place(spec)[3]


def _place(spec: str) -> tuple[str, str, str, str]:
    """Parse a specification into kind, folder or name, and the two languages."""
    match = _PLACE.fullmatch(spec)
    if match is None:
        # A shell expands an unquoted {en,de}, so that only one language arrives here.
        raise SourceError(
            f"Unknown source of sentence pairs {spec!r}. Expected {NUMBER_WORDS}, "
            "parallel:FOLDER.{en,de} (files FOLDER/SPLIT.en and FOLDER/SPLIT.de, plain or .gz) or "
            "tfds:NAME.{en,de}; in a shell, put it in quotes."
            f"{did_you_mean(spec, [NUMBER_WORDS])}"
        )
    kind, place, source, target = match.groups()
    return kind, place, source, target


def _read_tfds(
    builder: tfds.core.DatasetBuilder, source: str, target: str, split: str
) -> list[Pair]:
    features = builder.info.features
    if not isinstance(features, tfds.features.Translation):
        raise SourceError(
            f"{builder.name} is not a translation data set: expected the feature Translation, "
            f"got {type(features).__name__} of {', '.join(sorted(features))}."
        )
    _check_languages(f"tfds:{builder.name}", (source, target), features.languages)

    def text(value: str | bytes) -> str:
        return value.decode() if isinstance(value, bytes) else value

    records = tfds_source.open_split(builder, split)
    return [(text(record[source]), text(record[target])) for record in records]


def _split_files(folder: Path, source: str, target: str) -> dict[str, tuple[Path, Path]]:
    """Return the files of both languages for each split of a folder."""
    if not folder.is_dir():
        raise SourceError(
            f"{folder} is not a folder; expected one with files such as {folder}/train.{source} "
            f"and {folder}/train.{target}, plain or .gz."
        )
    # By stem and language; plain files replace compressed files.
    paths: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.suffix != ".gz"):
        stem, _, language = path.name.removesuffix(".gz").rpartition(".")
        if stem and path.is_file():
            paths[stem, language] = path
    _check_languages(str(folder), (source, target), sorted({language for _, language in paths}))
    # Skip stems that a split expression cannot contain.
    stems = {stem for stem, _ in paths if not re.search(r"[\[+]|^\s|\s$", stem)}
    splits = sorted(s for s in stems if {(s, source), (s, target)} <= paths.keys())
    return {split: (paths[split, source], paths[split, target]) for split in splits}


def _read_folder(folder: Path, source: str, target: str, split: str) -> list[Pair]:
    files = _split_files(folder, source, target)
    aliases = split_aliases(files)
    # Read only the requested splits: the training text may be a thousand times larger.
    pairs: dict[str, list[Pair]] = {}
    for term in split.split("+"):
        named = term.partition("[")[0].strip()
        name = aliases.get(named, named)
        if name not in files:
            raise SourceError(
                f"{folder} has no split {named!r} in both {source} and {target}; available: "
                f"{', '.join(files) or 'none'}.{did_you_mean(named, [*files, *aliases])}"
            )
        if name not in pairs:
            pairs[name] = _read_files(*files[name])
    return _select(pairs, split)


def _select(pairs: dict[str, list[Pair]], split: str) -> list[Pair]:
    """Select pairs by a split expression from the pairs of each split."""
    lengths = {name: len(of_split) for name, of_split in pairs.items()}
    parts = resolve_split(split, lengths, split_aliases(pairs))
    return [pairs[name][i] for name, part in parts for i in part]


def _read_files(*paths: Path) -> list[Pair]:
    sources, targets = (decode_lines(read_bytes(path, MAX_DATA), str(path)) for path in paths)
    if len(sources) != len(targets):
        raise SourceError(
            f"{paths[0]} has {len(sources):,} lines and {paths[1]} has {len(targets):,}; line n of "
            "one must be the translation of line n of the other."
        )
    return list(zip(sources, targets, strict=True))


def decode_lines(data: bytes, name: str) -> list[str]:
    """Decode a plain or gzip file with one sentence per line; `name` is for errors.

    Raises:
      SourceError: The file is not UTF-8 text, or is an incomplete gzip file.
    """
    if data.startswith(_GZIP):
        limit = max_unpacked(len(data))
        try:
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{name} is not a complete gzip file: {error}") from error
        if len(data) > limit:
            raise SourceError(
                f"{name} unpacks to more than {limit:,} bytes, too many for compressed text; check "
                "the file"
            )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"{name} is not UTF-8: line {line:,} holds the byte {data[error.start]:#04x} "
            f"({error.reason}). Convert it, for example with iconv."
        ) from error
    # splitlines would also split at characters such as U+2028 inside a sentence, and misalign all
    # later pairs.
    lines = text.removeprefix("\ufeff").split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _check_languages(place: str, languages: Sequence[str], known: Collection[str]) -> None:
    for language in languages:
        if language not in known:
            raise SourceError(
                f"{place} has no language {language!r}; available: {', '.join(known) or 'none'}."
                f"{did_you_mean(language, known)}"
            )
