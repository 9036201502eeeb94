"""A source that reads TensorFlow Datasets, without TensorFlow."""

import contextlib
import functools
import glob
import inspect
import io
import os
import re
import shlex
import shutil
import sys
import threading
import types
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import naming
from tensorflow_datasets.core.constants import INCOMPLETE_PREFIX
from tensorflow_datasets.core.download import extractor
from tensorflow_datasets.proto import tf_example_pb2

from netzoo.data.files import ImageError
from netzoo.data.mirror import local_folder
from netzoo.data.source import DatasetNotFoundError, Example, SourceError
from netzoo.data.sources.layout import missing_folder
from netzoo.data.sources.tfrecord import TfRecords
from netzoo.data.splits import resolve_split, split_error
from netzoo.errors import did_you_mean, printable
from netzoo.lock import one_at_a_time
from netzoo.paths import user_path

FILE_FORMAT = "array_record"  # random access without TensorFlow
_PROBE_SECONDS = 5.0
_USES_TENSORFLOW = re.compile(r"\btf\.(io|data|image|train)\.")  # in the code of a builder


class TfdsSource:
    """One split of a prepared image-classification data set."""

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        """Open `split`, a TFDS split expression.

        Raises:
          SourceError: The data set has no image or class label, or the split is unknown.
        """
        self.name = builder.name
        self.split = split
        self.names = (builder.info.full_name, split)  # TFDS has no names of single examples
        features = builder.info.features
        wanted = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
        if not all(k in features and isinstance(features[k], kind) for k, kind in wanted.items()):
            raise SourceError(
                f"{builder.name} is not an image-classification data set: expected the features "
                f"'image' (Image) and 'label' (ClassLabel), got {', '.join(sorted(features))}."
            )
        self.class_names = tuple(features["label"].names)
        self._records: Sequence[bytes]
        if builder.info.file_format.value == "tfrecord":
            self._records = _tfrecords(builder, split)
        else:
            raw = tfds.decode.DeserializeMethod.RAW_BYTES
            self._records = open_split(builder, split, deserialize_method=raw)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        name = f"{self.name} {self.split} example {index}"
        try:
            # TFDS's own decoding of a record copies the image and takes several times as long.
            record = tf_example_pb2.Example.FromString(self._records[index]).features.feature
            image = record["image"].bytes_list.value[0]
            label = record["label"].int64_list.value[0]
        except SourceError:
            raise
        except Exception as error:  # array_record and protobuf raise many types for damaged files
            reason = printable(f"{error}".strip().splitlines()[0]) if str(error) else repr(error)
            if "open() failed" in reason:  # a file of many examples is missing
                raise SourceError(f"Cannot read {name}: {reason}.") from error
            raise ImageError(f"Cannot read {name}: its record is damaged: {reason}.") from error
        return {"image": image, "label": label, "name": name}


def open_split(builder: tfds.core.DatasetBuilder, split: str, **options) -> Sequence:
    """Return the records of a prepared data set; `options` are those of `as_data_source`.

    Raises:
      SourceError: The split is unknown or empty, or the data set is in another file format.
    """
    if (prepared := builder.info.file_format.value) != FILE_FORMAT:
        raise SourceError(
            f"{builder.name} is prepared in {builder.data_dir} as {prepared}. Without TensorFlow, "
            f"netzoo reads {FILE_FORMAT}, and for images tfrecord. Prepare the data set elsewhere: "
            f"netzoo prepare {builder.name} --data-dir DIR, and give that data_dir. To convert it "
            "where TensorFlow is installed: tfds convert_format --root_data_dir=DIR "
            f"--out_file_format={FILE_FORMAT}."
        )
    lengths = {name: info.num_examples for name, info in builder.info.splits.items()}
    try:
        records = builder.as_data_source(split, **options)
    except (ValueError, KeyError, AssertionError, NotImplementedError) as error:
        raise split_error(split, lengths, error) from error
    if not len(records):
        raise split_error(split, lengths, ValueError("it selects no examples."))
    return records


def _tfrecords(builder: tfds.core.DatasetBuilder, split: str) -> TfRecords:
    """Return the records of a data set that is prepared as tfrecord, in the order of TFDS."""
    infos = builder.info.splits
    lengths = {name: info.num_examples for name, info in infos.items()}
    parts = []
    for name, chosen in resolve_split(split, lengths):
        files = [Path(file) for file in infos[name].filepaths]
        parts.append((files, infos[name].shard_lengths, chosen))
    return TfRecords(parts)


def split_sizes(builder: tfds.core.DatasetBuilder) -> dict[str, Callable[[], int]]:
    """Return, for each split of a prepared data set, a function that returns the split's size."""
    splits = builder.info.splits.items()
    return {name: functools.partial(int, info.num_examples) for name, info in splits}


def open_builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """Return the builder of a data set; prepare the data set if necessary.

    Raises:
      SourceError: TFDS does not know the data set.
      DatasetNotFoundError: The data set is not prepared and cannot be downloaded.
    """
    builder = find_builder(name, data_dir)
    if builder.info.splits:
        return builder
    _check_reachable(builder)
    with preparing(builder) as absent:
        if absent:
            _download(builder)
    return builder if absent else find_builder(name, data_dir)


@contextlib.contextmanager
def preparing(builder: tfds.core.DatasetBuilder) -> Iterator[bool]:
    """Let one process of the machine at a time prepare a data set; the others wait.

    The chosen process first removes what a killed preparation has left.

    Yields:
      Whether the data set is still absent; otherwise another process has prepared it.

    Raises:
      DatasetNotFoundError: The folder cannot be written.
    """
    final = Path(builder.data_dir)
    work = f"preparing {builder.info.full_name} in {final.parent}"
    with contextlib.ExitStack() as stack:
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            lock = one_at_a_time(final.with_name(f".{final.name}.lock"), work)
            killed = stack.enter_context(lock)
        except OSError as error:
            raise DatasetNotFoundError(_ways_on(builder, f"{error}")) from error
        if killed:
            for folder in final.parent.glob(f"{INCOMPLETE_PREFIX}*_{glob.escape(final.name)}"):
                shutil.rmtree(folder)
        yield not final.exists()  # TFDS renames its folder at the end


def find_builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """Return the builder of a data set, prepared or not.

    It imports no module that the files of a data set mention. It also imports no community data
    set, whose code TFDS would download.

    Raises:
      BucketError: `data_dir` is in a bucket that cannot be read.
      SourceError: TFDS does not know the data set, `data_dir` is in a bucket without it, or its
        files name a feature of another module.
    """
    # From a bucket, copy only the folder of this data set.
    folder = local_folder(data_dir, re.split("[/:]", name)[0]) if data_dir else None
    try:
        if naming.parse_builder_name_kwargs(name)[0].namespace:
            raise SourceError("expected NAME, NAME/CONFIG or NAME:VERSION")
        with _own_features_only():
            builder = tfds.builder(name, data_dir=folder, try_gcs=False)
            _ = builder.info  # read inside the `with` block
    except tfds.core.DatasetNotFoundError as error:
        raise _unknown(name, folder) from error
    except Exception as error:
        # The builders of some data sets need further packages (ImportError). TFDS raises many types
        # of errors for a damaged description.
        raise SourceError(f"Cannot open the TFDS data set {name!r}: {error}") from error
    return builder


def _unknown(name: str, folder: Path | None) -> SourceError:
    """Return the error for a data set that is neither TFDS's own nor prepared in `folder`."""
    known = sorted(set(tfds.list_builders(with_community_datasets=False)))
    where = ""
    if folder is not None and not folder.is_dir():
        return SourceError(
            f"TFDS knows no data set {name!r}, and the folder of prepared data sets is missing: "
            f"{missing_folder(folder, f'a folder that holds {name}/')}"
        )
    if folder is not None:
        here = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        where, known = f", and {folder.absolute()} holds none", [*here, *known]
    return SourceError(
        f"TFDS knows no data set {name!r}{where}.{did_you_mean(name, known)} All of them: "
        "https://www.tensorflow.org/datasets/catalog"
    )


@contextlib.contextmanager
def _own_features_only() -> Iterator[None]:
    """Reject features of a prepared data set that do not belong to TFDS.

    The file features.json names the class of each feature. TFDS would import the module of an
    unknown class, which can execute any code.
    """
    connector = tfds.features.FeatureConnector
    before = connector.__dict__["cls_from_name"]

    def cls_from_name(cls: type, name: str) -> type:
        if not name.startswith("tensorflow_datasets.core.features."):
            raise SourceError(
                f"its features.json names {printable(name)}; netzoo reads only features of TFDS"
            )
        return before.__get__(None, cls)(name)

    connector.cls_from_name = classmethod(cls_from_name)
    try:
        yield
    finally:
        connector.cls_from_name = before


def download_and_prepare(
    builder: tfds.core.DatasetBuilder, *, quiet: bool = False, **options: Any
) -> None:
    """Prepare a data set in the format that netzoo reads, never from a copy in the cloud.

    `quiet` hides the notices of TFDS; otherwise they go to standard error.
    """
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    with contextlib.redirect_stdout(io.StringIO() if quiet else sys.stderr):
        builder.download_and_prepare(download_config=config, file_format=FILE_FORMAT, **options)


def _check_reachable(builder: tfds.core.DatasetBuilder) -> None:
    """Raise a DatasetNotFoundError within seconds without a network; TFDS would try for minutes."""
    # Data sets that users must download by hand also list addresses, but do not need them.
    by_hand = builder.MANUAL_DOWNLOAD_INSTRUCTIONS is not None
    urls = [] if by_hand else list(builder.url_infos or {})
    if urls and (reason := _unreachable(urls[0])):
        raise DatasetNotFoundError(_ways_on(builder, reason))


def _download(builder: tfds.core.DatasetBuilder) -> None:
    """Download and prepare a data set.

    Raises:
      DatasetNotFoundError: The data set cannot be downloaded; the message lists alternatives.
    """
    try:
        with _archives_without_tensorflow():
            download_and_prepare(builder)
    except Exception as error:
        # Whatever the cause (checksum, disk, manual download, missing package), the data set is
        # absent; TFDS removes its incomplete folder.
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, ImportError) and "tensorflow" in str(error):
            reason = (
                "TFDS prepares this data set with TensorFlow only; prepare it where that is "
                f"installed, with file_format='{FILE_FORMAT}', and copy the folder here"
            )
        raise DatasetNotFoundError(_ways_on(builder, reason)) from error


@contextlib.contextmanager
def _archives_without_tensorflow() -> Iterator[None]:
    """Make TFDS read and unpack downloaded archives with Python's `open`.

    TFDS 4.9 opens archives through TensorFlow's file API, even on a local disk. Without TensorFlow
    it would fail after the whole download.
    """
    before = extractor.tf
    extractor.tf = types.SimpleNamespace(
        io=types.SimpleNamespace(gfile=types.SimpleNamespace(GFile=open)),
        compat=types.SimpleNamespace(as_text=os.fsdecode),
    )
    try:
        yield
    finally:
        extractor.tf = before


def _ways_on(builder: tfds.core.DatasetBuilder, reason: str) -> str:
    config, folder = builder.builder_config, builder.data_dir_root
    name = f"{builder.name}/{config.name}" if config else builder.name
    is_default = Path(folder) == user_path(tfds.core.constants.DATA_DIR)
    place = "" if is_default else f" --data-dir {shlex.quote(str(folder))}"
    need = "a network connection"
    if _USES_TENSORFLOW.search(inspect.getsource(sys.modules[type(builder).__module__])):
        need += " and TensorFlow, with which TFDS prepares this data set"
    ways = [f"with {need}, run:\n     netzoo prepare {name}{place}"]
    if name == "tf_flowers":
        ways.append(
            "from a copy of the archive or the folder unpacked from it, run:\n"
            f"     netzoo prepare {name} --from flower_photos.tgz{place}"
        )
    ways.append(
        "use other data: --config.data.source=folder:PATH for images, parallel:FOLDER.{en,de} for\n"
        "     sentences or, with nothing to download, synthetic_flowers or number_words"
    )
    listed = "\n".join(f"  {number}. {way}" for number, way in enumerate(ways, start=1))
    return (
        f"The data set {name!r} is not prepared in {builder.data_dir} and could not be "
        f"downloaded ({reason}).\nWhat to do:\n{listed}"
    )


def _unreachable(url: str) -> str | None:
    """Return why the server of `url` cannot be reached, or None if it answers."""
    reasons: list[str | None] = [f"no answer within {_PROBE_SECONDS:g} s"]

    def probe() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=_PROBE_SECONDS).close()
            reasons.append(None)
        except urllib.error.HTTPError:
            reasons.append(None)  # the server answers; the download reports the problem
        except Exception as error:
            reasons.append(f"{getattr(error, 'reason', error)}")

    # A thread, because looking up a host name has no timeout.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return None if reasons[-1] is None else f"{url}: {reasons[-1]}"
