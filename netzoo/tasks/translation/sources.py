"""Reads sentence pairs from what one line of text names."""

import gzip
import io
import re
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from netzoo.data.source import SourceError
from netzoo.data.sources.tfds import open_builder, open_split
from netzoo.data.splits import resolve_split, validation_aliases
from netzoo.errors import did_you_mean
from netzoo.limits import max_unpacked
from netzoo.tasks.translation.number_words import SPLIT_SIZES, number_pairs

NUMBER_WORDS = "number_words"
_GZIP = b"\x1f\x8b"  # how such files begin, RFC 1952, section 2.3.1
_PLACE = re.compile(r"(parallel|tfds):(.+)\.\{([^{},\s]+),([^{},\s]+)\}")

Pair = tuple[str, str]  # a sentence and its translation


def read_pairs(spec: str, split: str, data_dir: str | None = None) -> list[Pair]:
    """Reads sentence pairs.

    Args:
      spec: `number_words` for computed pairs that need no files; `parallel:FOLDER.{en,de}` for
        files of one sentence a line, translated from the first language in braces into the second;
        `tfds:NAME.{en,de}` for a translation data set of TensorFlow Datasets.
      split: A TFDS split expression, such as `train[:90%]`. The splits of a folder are the stems of
        its files; `val` and `validation` are one name where only one exists.
      data_dir: Where prepared TFDS data sets lie; None is TFDS's default.

    Returns:
      The pairs, also those with an empty side, always in the same order.

    Raises:
      SourceError: The specification, a language or the split is unknown, or files do not belong
        together or cannot be read.
      DatasetNotFoundError: A TFDS data set is not prepared and cannot be downloaded.
    """
    if spec == NUMBER_WORDS:
        return _select({name: number_pairs(name) for name in SPLIT_SIZES}, split)
    kind, place, source, target = _place(spec)
    if kind == "parallel":
        return _read_folder(Path(place).expanduser(), source, target, split)
    return _read_tfds(open_builder(place, data_dir), source, target, split)


def split_names(spec: str, data_dir: str | None = None) -> Collection[str]:
    """Returns the names of the splits of a source of sentence pairs; raises as `read_pairs`."""
    if spec == NUMBER_WORDS:
        return SPLIT_SIZES
    kind, place, *languages = _place(spec)
    if kind == "parallel":
        return _split_files(Path(place).expanduser(), *languages)
    return open_builder(place, data_dir).info.splits


def _place(spec: str) -> tuple[str, str, str, str]:
    """Returns the kind, the folder or name, and the two languages of a source."""
    match = _PLACE.fullmatch(spec)
    if match is None:
        # An unquoted {en,de} is expanded by the shell and arrives here as one language.
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

    records = open_split(builder, split)
    return [(text(record[source]), text(record[target])) for record in records]


def _split_files(folder: Path, source: str, target: str) -> dict[str, tuple[Path, Path]]:
    """Returns the files of both languages for each split of a folder."""
    if not folder.is_dir():
        raise SourceError(
            f"{folder} is not a folder; expected one with files such as {folder}/train.{source} "
            f"and {folder}/train.{target}, plain or .gz."
        )
    # By stem and language; a plain file replaces a compressed one.
    paths: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.suffix != ".gz"):
        stem, _, language = path.name.removesuffix(".gz").rpartition(".")
        if stem and path.is_file():
            paths[stem, language] = path
    _check_languages(str(folder), (source, target), sorted({language for _, language in paths}))
    # Stems that no split expression can name are left out.
    stems = {stem for stem, _ in paths if not re.search(r"[\[+]|^\s|\s$", stem)}
    splits = sorted(s for s in stems if {(s, source), (s, target)} <= paths.keys())
    return {split: (paths[split, source], paths[split, target]) for split in splits}


def _read_folder(folder: Path, source: str, target: str, split: str) -> list[Pair]:
    files = _split_files(folder, source, target)
    aliases = validation_aliases(files)
    # Only what is asked for is read: the training text may be a thousand times the test's.
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
    """Returns the pairs that a split expression selects from the pairs of each split."""
    lengths = {name: len(of_split) for name, of_split in pairs.items()}
    parts = resolve_split(split, lengths, validation_aliases(pairs))
    return [pairs[name][i] for name, part in parts for i in part]


def _read_files(*paths: Path) -> list[Pair]:
    sources, targets = (decode_lines(path.read_bytes(), str(path)) for path in paths)
    if len(sources) != len(targets):
        raise SourceError(
            f"{paths[0]} has {len(sources):,} lines and {paths[1]} has {len(targets):,}; line n of "
            "one must be the translation of line n of the other."
        )
    return list(zip(sources, targets, strict=True))


def decode_lines(data: bytes, name: str) -> list[str]:
    """Returns the sentences of a file, plain or gzip, one a line; `name` is for error messages.

    Raises:
      SourceError: The file is not UTF-8 text, or is gzip and incomplete.
    """
    if data.startswith(_GZIP):
        limit = max_unpacked(len(data))
        try:
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{name} is not a complete gzip file: {error}") from error
        if len(data) > limit:
            raise SourceError(f"{name} does not end within {limit:,} bytes, as text would")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"{name} is not UTF-8: line {line:,} holds the byte {data[error.start]:#04x} "
            f"({error.reason}). Convert it, for example with iconv."
        ) from error
    # splitlines would also break at characters such as U+2028 inside a sentence, and every pair
    # after it would be a wrong one.
    lines = text.removeprefix("\ufeff").split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _check_languages(place: str, languages: Sequence[str], known: Collection[str]) -> None:
    for language in languages:
        if language not in known:
            raise SourceError(
                f"{place} has no language {language!r}; available: {', '.join(known) or 'none'}."
                f"{did_you_mean(language, known)}"
            )
