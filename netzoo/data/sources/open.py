"""Opens a source of labelled images by its specification."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow_datasets as tfds

from netzoo.data.folds import FoldSource, parse_fold
from netzoo.data.source import Source, SourceError
from netzoo.data.sources import folder, hugging_face, image_list, webdataset
from netzoo.data.sources import tfds as tfds_source
from netzoo.data.sources.spec import Spec, parse_spec
from netzoo.errors import did_you_mean, printable

SYNTHETIC = "synthetic_flowers"
# For the help of commands.
SPECS = f"folder:PATH, csv:PATH, webdataset:PATTERN, hf:NAME, tfds:NAME or {SYNTHETIC}"
# Maps the word before the colon to a user source; user modules may add more. A function takes the
# text after the colon and the split, and returns a source.
SOURCES: dict[str, Callable[[str, str], Source]] = {}


class _Kind(NamedTuple):
    """How to open a source of a kind, and how to count the examples of its splits."""

    create: Callable[..., Source]
    split_sizes: Callable[[Spec], Mapping[str, Callable[[], int]]]


_KINDS = {
    "folder": _Kind(folder.FolderSource, folder.split_sizes),
    "csv": _Kind(image_list.CsvSource, image_list.split_sizes),
    "webdataset": _Kind(webdataset.WebDatasetSource, webdataset.split_sizes),
    "hf": _Kind(hugging_face.HuggingFaceSource, hugging_face.split_sizes),
}


def open_source(
    spec: str, split: str, data_dir: str | None = None, skip_corrupt: bool = False
) -> Source:
    """Open a source of encoded images.

    Args:
      spec: `folder:PATH` for a folder of class folders, `csv:PATH` for a list of images,
        `webdataset:PATTERN` for tar files, `hf:NAME` for a data set of Hugging Face's `datasets`,
        `tfds:NAME` for an image-classification data set of TensorFlow Datasets,
        `synthetic_flowers`, which needs no download, or `WORD:TEXT` with a word of `SOURCES`.
        Options follow a question mark, such as `folder:PATH?nested=yes`.
      split: A TFDS split expression, such as `train[:80%]`, perhaps with a fold
        (`netzoo.data.folds`).
      data_dir: Folder of prepared data sets; None for TFDS's default (`TFDS_DATA_DIR`, else
        `~/tensorflow_datasets`). Only `tfds:NAME` and `synthetic_flowers` use it.
      skip_corrupt: Whether to warn about unreadable files when opening, instead of failing.
        `skip_corrupt` of `TrainBatches` and `EvalBatches` then decides how to treat them.

    Raises:
      SourceError: The specification, split or folder is unknown, or the names of the classes are
        not different printable texts.
      DatasetNotFoundError: The data set is not prepared and cannot be downloaded.
      ImageError: A file is not an image and `skip_corrupt` is off.
    """
    split, fold = parse_fold(split)
    if fold is not None:
        source = open_source(spec, split, data_dir, skip_corrupt)
        return FoldSource(source, fold, skip_corrupt=skip_corrupt)
    source = _opened(spec, split, data_dir, skip_corrupt)
    _check_classes(source)
    return source


def _opened(spec: str, split: str, data_dir: str | None, skip_corrupt: bool) -> Source:
    kind, _, place = spec.partition(":")
    if kind in SOURCES:
        return SOURCES[kind](place, split)
    parts = parse_spec(spec)
    if parts.kind in _KINDS and parts.place:
        return _KINDS[parts.kind].create(parts, split, skip_corrupt=skip_corrupt)
    return tfds_source.TfdsSource(_builder(spec, data_dir), split)


def _check_classes(source: Source) -> None:
    """Raise an error for names of classes that reports and exported files could not tell apart."""
    names = source.class_names
    if not names:
        raise SourceError(f"{source.name} has no classes: no image has a label")
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise SourceError(f"{source.name} has the class {printable(name)} twice; rename one")
    odd = (name for name in names if not name.strip() or name != printable(name))
    if (found := next(odd, None)) is not None:
        raise SourceError(
            f"{source.name} has a class with the name {printable(found)!r}, which is not printable "
            "text in one line; rename it"
        )


def split_sizes(spec: str, data_dir: str | None = None) -> Mapping[str, Callable[[], int]]:
    """Return, for each split of a source, a function that counts the split's examples.

    A missing data set is prepared. A source of `SOURCES` does not list its splits, so the result is
    empty.

    Raises:
      SourceError: The specification is unknown.
      DatasetNotFoundError: The data set is not prepared and cannot be downloaded.
    """
    if spec.partition(":")[0] in SOURCES:
        return {}
    parts = parse_spec(spec)
    if parts.kind in _KINDS and parts.place:
        return _KINDS[parts.kind].split_sizes(parts)
    return tfds_source.split_sizes(_builder(spec, data_dir))


def _builder(spec: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """Return the builder of a prepared data set."""
    kind, _, rest = spec.partition(":")
    if spec in (SYNTHETIC, f"tfds:{SYNTHETIC}"):
        # Importing the module registers the builder with TFDS; only this source needs it.
        from netzoo.data.sources.synthetic import builder

        return builder.prepare(data_dir)
    if kind == "tfds" and rest:
        return tfds_source.open_builder(rest, data_dir)
    raise SourceError(
        f"Unknown source {spec!r}. Expected {SPECS}; for example tfds:tf_flowers.{_hint(spec)}"
    )


def _hint(spec: str) -> str:
    if spec.endswith((".csv", ".tsv")):
        return f" Did you mean 'csv:{spec}'?"
    if os.path.isdir(spec) or "/" in spec:
        return f" Did you mean 'folder:{spec}'?"
    known = {f"tfds:{name}" for name in tfds.list_builders(with_community_datasets=False)}
    if f"tfds:{spec}" in known:
        return f" Did you mean 'tfds:{spec}'?"
    return did_you_mean(spec, sorted({*known, "folder:PATH", SYNTHETIC}))
