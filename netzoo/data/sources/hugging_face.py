"""A source that reads data sets of the package `datasets` of Hugging Face."""

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from netzoo.data.files import ImageError, read_file
from netzoo.data.source import DatasetNotFoundError, Example, SourceError
from netzoo.data.sources.columns import find_column
from netzoo.data.sources.description import described
from netzoo.data.sources.labels import label_numbers
from netzoo.data.sources.order import mixed_order
from netzoo.data.sources.spec import Spec
from netzoo.data.splits import resolve_split, split_aliases
from netzoo.errors import UserError, note_once, printable
from netzoo.paths import user_path

_OPTIONS = ("image", "label", "config")
_SAVED = ("dataset_dict.json", "state.json")  # files of `save_to_disk`


class HuggingFaceSource:
    """Images and classes of a data set of the Hub, or of local files that `datasets` reads.

    A column of lists of classes makes a multi-label source. Many data sets are sorted by class, so
    the examples of a split are mixed. Their order depends on the number of examples only.
    """

    def __init__(self, spec: Spec, split: str, *, skip_corrupt: bool = False):
        """Open `split`, a TFDS split expression.

        Options of `spec` name the columns `image` and `label`, and the `config` of the data set.
        `skip_corrupt` has no effect here, because images are not read when the source is opened.

        Raises:
          UserError: The package `datasets` is not installed.
          DatasetNotFoundError: The data set is neither on this machine nor on the Hub.
          SourceError: A column is missing, an image has no class, or the split is unknown.
        """
        del skip_corrupt
        spec.check_options(_OPTIONS)
        place, data = f"hf:{spec.place}", _load(spec.place, spec.text("config"))
        first = next(iter(data.values()))
        image, label = _columns(first.features, spec, place)
        lengths = {name: part.num_rows for name, part in data.items()}
        parts = resolve_split(split, lengths, split_aliases(data))
        orders = {name: mixed_order(lengths[name]) for name in dict(parts)}
        self._rows = [(name, int(orders[name][i])) for name, part in parts for i in part]
        tables = {name: part.with_format("arrow")[:] for name, part in data.items()}
        self.name, self.split = place, split
        labels = _labels(first.features[label], {k: t[label] for k, t in tables.items()}, place)
        self.class_names = labels.class_names
        self.multi_label = labels.multi_label
        note_once(f"{place}: {described(self.class_names, lengths)}; columns {image}, {label}")
        self.labels = np.stack([labels.of[name][row] for name, row in self._rows])
        if (self.labels < 0).any():
            found = f"{int((self.labels < 0).sum()):,} of {len(self.labels):,} images"
            raise SourceError(
                f"{place} {split}: {found} have no class. Their label is empty or -1, as in test "
                "splits whose labels are not published. Choose other splits: data.test_split."
            )
        self.names = [f"{name}/{row}{_file(tables[name][image][row])}" for name, row in self._rows]
        self._data = {name: _undecoded(data[name], image) for name in orders}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        split, row = self._rows[index]
        name, label = self.names[index], self.labels[index]
        [stored] = self._data[split][row].values()
        if stored is None:
            raise ImageError(f"Cannot read {printable(name)}: the data set has no image here.")
        image = stored["bytes"] or read_file(stored["path"] or "", name)
        return {"image": image, "label": label if self.multi_label else int(label), "name": name}


def split_sizes(spec: Spec) -> dict[str, Callable[[], int]]:
    """Return, for each split of a data set, a function that counts the split's examples.

    Raises:
      UserError: See `HuggingFaceSource`.
    """
    spec.check_options(_OPTIONS)
    data = _load(spec.place, spec.text("config"))
    return {name: functools.partial(int, part.num_rows) for name, part in data.items()}


class _Labels(NamedTuple):
    """The labels of all splits; -1 means unknown."""

    class_names: tuple[str, ...]
    multi_label: bool
    of: Mapping[str, np.ndarray]


def _package() -> ModuleType:
    try:
        import datasets
    except ModuleNotFoundError:
        raise UserError("hf: needs the package datasets: pip install 'netzoo[datasets]'") from None
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    return datasets


@functools.lru_cache(maxsize=4)  # the splits of a run come from one data set
def _load(place: str, config: str | None) -> Mapping[str, Any]:
    """Return the splits of a data set.

    `place` is `imagefolder:PATH` or another builder of local files; the path of a folder with
    Parquet files, or with what `save_to_disk` wrote; or NAME or NAME@REVISION of the Hub. No code
    of the data set is executed.
    """
    datasets = _package()
    builder, colon, path = place.partition(":")
    folder = user_path(path if colon else place)
    name, _, revision = place.partition("@")
    try:
        if colon and not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder")
        if colon:
            return datasets.load_dataset(builder, config, data_dir=str(folder))
        if any((folder / file).is_file() for file in _SAVED):
            found = datasets.load_from_disk(str(folder))
            return found if isinstance(found, Mapping) else {"train": found}
        if folder.is_dir():
            return datasets.load_dataset(str(folder), config)
        return datasets.load_dataset(name, config, revision=revision or None)
    except Exception as error:  # the package raises many types, also those of its dependencies
        raise DatasetNotFoundError(
            f"Cannot open the data set hf:{place}: {printable(' '.join(str(error).split()))}\n"
            "Expected hf:NAME or hf:ORG/NAME of the Hub, with a network connection or in the cache "
            "of the package datasets; hf:imagefolder:PATH; or hf:PATH with the path of a folder of "
            "Parquet files."
        ) from error


def _columns(features: Mapping[str, Any], spec: Spec, place: str) -> tuple[str, str]:
    """Return the columns of the image and the label."""
    datasets = _package()
    images = [n for n, feature in features.items() if isinstance(feature, datasets.Image)]
    if not images:
        raise SourceError(
            f"{place} has no column of images; its columns are {printable(', '.join(features))}"
        )
    image = images[0]
    if "image" in spec.options or len(images) > 1:
        image = find_column("image", images, spec, place)
    classes = [n for n, feature in features.items() if _class_names(feature) is not None]
    if "label" not in spec.options and len(classes) == 1:
        return image, classes[0]
    return image, find_column("label", [n for n in features if n not in images], spec, place)


def _class_names(feature: Any) -> tuple[str, ...] | None:
    """Return the class names of a column of classes or of lists of classes, else None."""
    names = getattr(getattr(feature, "feature", feature), "names", None)
    return None if names is None else tuple(names)


def _labels(feature: Any, columns: Mapping[str, Any], place: str) -> _Labels:
    """Return the labels of all splits: of classes, lists of classes, texts or whole numbers."""
    class_names = _class_names(feature)
    values = {split: column.to_pylist() for split, column in columns.items()}
    if class_names is not None and hasattr(feature, "feature"):
        vectors = {split: _vectors(lists, len(class_names)) for split, lists in values.items()}
        return _Labels(class_names, True, vectors)
    if class_names is not None:
        numbers = {k: [-1 if x is None else x for x in v] for k, v in values.items()}
        return _Labels(class_names, False, {k: np.array(v, np.int64) for k, v in numbers.items()})
    if getattr(feature, "dtype", "") not in ("string", "large_string", *_WHOLE):
        raise SourceError(
            f"{place}: the label is a column of {feature}; expected classes, lists of classes, "
            "texts or whole numbers. Choose another column: label=COLUMN."
        )
    splits: dict[str, range] = {}
    texts: list[str] = []
    for split, found in values.items():
        splits[split] = range(len(texts), len(texts) + len(found))
        texts += ["" if text is None else str(text) for text in found]
    class_names, numbers_of_all = label_numbers(texts, splits, lambda row: f"{place}, row {row}")
    return _Labels(class_names, False, {k: numbers_of_all[rows] for k, rows in splits.items()})


_WHOLE = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


def _vectors(lists: list[list[int] | None], classes: int) -> np.ndarray:
    vectors = np.zeros((len(lists), classes), np.float32)
    for vector, found in zip(vectors, lists, strict=True):
        vector[[] if found is None else found] = 1
        if found is None:
            vector[:] = -1
    return vectors


def _file(image: Any) -> str:
    """Return `/` and the name of the file that an image was made of, or "" if it is unknown."""
    path = image["path"].as_py() if image.is_valid else None
    return f"/{PurePath(path).name}" if path else ""


def _undecoded(data: Any, image: str) -> Any:
    """Return a split whose rows are the stored images alone."""
    return data.select_columns(image).cast_column(image, _package().Image(decode=False))
