"""Opens a source of sentence pairs from one line of text."""

import gzip
import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import tensorflow_datasets as tfds

from netzoo.data.source import SourceError, nearest, resolve_split
from netzoo.data.sources.tfds import open_builder, open_split
from netzoo.limits import max_unpacked
from netzoo.tasks.translation.number_words import SPLIT_SIZES, number_pairs

NUMBER_WORDS = "number_words"
_FORMS = (
    NUMBER_WORDS,
    "parallel:FOLDER.{en,de} (files FOLDER/SPLIT.en and FOLDER/SPLIT.de, plain or .gz)",
    "tfds:NAME.{en,de}",
)
_GZIP = b"\x1f\x8b"  # what such files begin with, RFC 1952, section 2.3.1
_PLACE_AND_LANGUAGES = re.compile(r"(?P<place>.+)\.\{(?P<source>[^{},\s]+),(?P<target>[^{},\s]+)\}")


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


@runtime_checkable
class ParallelSource(Protocol):
    """A fixed, random-access sequence of sentence pairs."""

    name: str
    split: str

    def __len__(self) -> int:
        """Number of pairs in the split."""
        ...

    def __getitem__(self, index: int) -> Pair:
        """The pair at `index`, the same one at every call."""
        ...


def open_parallel(spec: str, split: str, data_dir: str | None = None) -> ParallelSource:
    """Opens a source of sentence pairs.

    Args:
        spec: `number_words` for computed pairs that need no files; `parallel:FOLDER.{en,de}` for
            files of one sentence a line, translated from the first language in braces into the
            second; `tfds:NAME.{en,de}` for a translation data set of TensorFlow Datasets.
        split: a TFDS split expression, such as `train[:90%]`. The splits of a folder are the
            stems of its files; `val` and `validation` are one name where only one exists.
        data_dir: where prepared TFDS data sets lie; None is TFDS's default.

    Returns:
        The source. Pairs with an empty side are kept.

    Raises:
        SourceError: on an unknown specification, language or split, and on files that do not
            belong together or cannot be read.
        DatasetNotFoundError: if a TFDS data set is not prepared and cannot be downloaded.
    """
    if spec == NUMBER_WORDS:
        return _open_number_words(split)
    kind, _, rest = spec.partition(":")
    match = _PLACE_AND_LANGUAGES.fullmatch(rest)
    if kind not in ("parallel", "tfds") or match is None:
        # An unquoted {en,de} is expanded by the shell and arrives here as one language.
        raise SourceError(
            f"Unknown source of sentence pairs {spec!r}. Expected {', '.join(_FORMS[:-1])} or "
            f"{_FORMS[-1]}; in a shell, put it in quotes.{nearest(spec, [NUMBER_WORDS])}"
        )
    languages = (match["source"], match["target"])
    if kind == "parallel":
        return _open_folder(spec, Path(match["place"]).expanduser(), languages, split)
    return TfdsPairs(open_builder(match["place"], data_dir), languages, split)


class MemoryPairs:
    """Sentence pairs in memory."""

    def __init__(self, name: str, split: str, pairs: Sequence[tuple[str, str]]):
        """Keeps `pairs`, each `(source, target)`."""
        self.name = name
        self.split = split
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Pair:
        return Pair(*self._pairs[index])


class TfdsPairs:
    """One split of a prepared TFDS translation data set."""

    def __init__(self, builder: tfds.core.DatasetBuilder, languages: tuple[str, str], split: str):
        """Opens `split`, any TFDS split expression.

        Raises:
            SourceError: if the data set holds no translations, or not these languages, or has no
                such split.
        """
        features = builder.info.features
        if not isinstance(features, tfds.features.Translation):
            raise SourceError(
                f"{builder.name} is no translation data set: expected the feature Translation, "
                f"found {type(features).__name__} of {', '.join(sorted(features))}."
            )
        _check_languages(f"tfds:{builder.name}", languages, features.languages)
        self.name = f"tfds:{builder.name}.{{{','.join(languages)}}}"
        self.split = split
        self._languages = languages
        self._records = open_split(builder, split)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Pair:
        record = self._records[index]
        texts = (record[language] for language in self._languages)
        return Pair(*(t.decode() if isinstance(t, bytes) else t for t in texts))


def _open_number_words(split: str) -> MemoryPairs:
    parts = resolve_split(split, SPLIT_SIZES, _aliases(SPLIT_SIZES))
    pairs = {name: number_pairs(name) for name, _ in parts}
    return MemoryPairs(NUMBER_WORDS, split, [pairs[name][i] for name, part in parts for i in part])


def _open_folder(spec: str, folder: Path, languages: tuple[str, str], split: str) -> MemoryPairs:
    if not folder.is_dir():
        raise SourceError(
            f"{folder} is not a folder; expected one with files such as "
            f"{folder}/train.{languages[0]} and {folder}/train.{languages[1]}, plain or .gz."
        )
    found = _list_files(folder)
    _check_languages(str(folder), languages, sorted({language for _, language in found}))
    stems = {stem for stem, _ in found if not re.search(r"[\[+]|^\s|\s$", stem)}
    splits = sorted(s for s in stems if all((s, language) in found for language in languages))
    aliases = _aliases(splits)
    # Only what is asked for is read: the training text may be a thousand times the test's.
    named = [term.partition("[")[0].strip() for term in split.split("+")]
    for name in named:
        if aliases.get(name, name) not in splits:
            raise SourceError(
                f"{folder} has no split {name!r} in both {languages[0]} and {languages[1]}; "
                f"available: {', '.join(splits) or 'none'}.{nearest(name, [*splits, *aliases])}"
            )
    used = {aliases.get(name, name) for name in named}
    pairs = {s: _read_pairs([found[s, language] for language in languages]) for s in used}
    parts = resolve_split(split, {name: len(lines) for name, lines in pairs.items()}, aliases)
    return MemoryPairs(spec, split, [pairs[name][i] for name, part in parts for i in part])


def _list_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Returns the files of a folder by stem and language; plain ones go before compressed."""
    found = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.suffix != ".gz"):
        stem, _, language = path.name.removesuffix(".gz").rpartition(".")
        if stem and path.is_file():
            found[stem, language] = path
    return found


def _read_pairs(paths: list[Path]) -> list[tuple[str, str]]:
    sources, targets = (decode_lines(path.read_bytes(), str(path)) for path in paths)
    if len(sources) != len(targets):
        raise SourceError(
            f"{paths[0]} has {len(sources):,} lines and {paths[1]} has {len(targets):,}; line n of "
            "the one must be the translation of line n of the other."
        )
    return list(zip(sources, targets, strict=True))


def decode_lines(data: bytes, name: str) -> list[str]:
    """Returns the sentences of a file, one a line.

    Args:
        data: what the file holds; gzip is unpacked.
        name: of the file, for errors.

    Raises:
        SourceError: if it is no UTF-8 text, or no complete gzip file.
    """
    if data.startswith(_GZIP):
        try:
            data = _decompressed(data)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(f"{name} is no complete gzip file: {error}") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(
            f"{name} is not UTF-8: line {line:,} holds the byte {data[error.start]:#04x} "
            f"({error.reason}). Convert it, for example with iconv."
        ) from error
    # Not splitlines: it also breaks at characters such as U+2028 inside a sentence, and every
    # pair after it would be a wrong one.
    lines = text.removeprefix("\ufeff").split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _decompressed(data: bytes) -> bytes:
    limit = max_unpacked(len(data))
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        text = file.read(limit + 1)
    if len(text) > limit:
        raise EOFError(f"it does not end within {limit:,} bytes, as text would")
    return text


def _check_languages(place: str, languages: tuple[str, str], known: Sequence[str]) -> None:
    for language in languages:
        if language not in known:
            raise SourceError(
                f"{place} has no language {language!r}; available: {', '.join(known) or 'none'}."
                f"{nearest(language, known)}"
            )


def _aliases(splits: Sequence[str] | dict[str, int]) -> dict[str, str]:
    pairs = (("val", "validation"), ("validation", "val"))
    return {alias: name for alias, name in pairs if name in splits and alias not in splits}
