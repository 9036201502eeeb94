"""Probes weights on a data set, and writes a record, or the weights with the probe as head."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from netzoo.config import CONFIG_FILE, default_config
from netzoo.console import json_text
from netzoo.errors import UserError
from netzoo.files import write_text
from netzoo.json_files import read_json
from netzoo.models import create_model
from netzoo.paths import run_path, user_path
from netzoo.tasks import resolve_config
from netzoo.tasks.classification.features import Extractor, Features
from netzoo.tasks.classification.probe import (
    FOLDS,
    Choice,
    Head,
    LinearProbe,
    Neighbours,
    choose,
    score,
)
from netzoo.tasks.classification.single_label import SingleLabelClassification
from netzoo.weights import LoadedModel, load, save_safetensors
from netzoo.weights.origin import find_weights
from netzoo.workdir.environment import commit, versions
from netzoo.workdir.outputs import check_writable

RECORD = "probe.json"
_DATA = ("source", "train_split", "validation_split", "test_split")
_SHAPE = {"methods": {"*": {"*": object}}}


class Probed(NamedTuple):
    """The result of `probe`."""

    record: dict[str, Any]  # the contents of probe.json
    name: str  # of the network in the registry
    loaded: LoadedModel  # without a head
    head: Head  # the chosen linear probe
    class_names: tuple[str, ...]

    def save(self, path: str) -> None:
        """Write the network with the linear probe as its classifier, in netzoo's own format.

        Raises:
          UserError: The file cannot store an option of the network.
        """
        network, variables, images, _ = self.loaded
        head = {name: getattr(self.head, name).astype("float32") for name in ("kernel", "bias")}
        usual, skipped = create_model(self.name, 0), ("parent", "name", "num_classes")
        fields = [field.name for field in dataclasses.fields(network) if field.name not in skipped]
        options = {n: v for n in fields if (v := getattr(network, n)) != getattr(usual, n)}
        variables = {**variables, "params": {**variables["params"], "logits": head}}
        described = {"preprocessing": images, "class_names": self.class_names, **options}
        save_safetensors(path, variables, self.name, **described)


def probe(
    config: ConfigDict,
    weights: str,
    workdir: str | Path,
    *,
    model: str | None = None,
    image_size: int | None = None,
    test: bool = False,
) -> Probed:
    """Fit a linear probe and k nearest neighbours on the features of the training split.

    Args:
      config: Names the data; its network and its recipe are ignored.
      weights: A published name, the folder of a run, or a file.
      workdir: Folder for the features and the record `probe.json`; created if missing.
      model: Name in the registry, for a file that does not store it.
      image_size: Side of the images in pixels; that of the weights if None.
      test: Whether to use the test split, once, with the chosen settings.

    Raises:
      UserError: The weights or the data cannot be read; the folder is a run; or it holds a record
        with results on the test split.
    """
    began, folder = time.monotonic(), _folder(user_path(workdir))
    task = _task(config, weights, test)
    data, classes = task.config.data, len(task.class_names)
    loaded = load(weights, model, 0, image_size=image_size)
    extract = Extractor(loaded, folder, data.num_threads)

    def features(split: str) -> Features:
        return extract(task.labelled(split), task.skip_corrupt)

    train = features(data.train_split)
    validation = features(data.validation_split) if data.validation_split else None
    linear, neighbours = LinearProbe(classes), Neighbours(classes, len(train.labels))
    choices = [choose(method, train, validation) for method in (linear, neighbours)]
    head, vote = linear.fit(train, choices[0].setting), neighbours.fit(train, choices[1].setting)
    tested = features(data.test_split) if test else None
    name = str(model or find_weights(weights, read=False).model)
    record = {
        "weights": str(weights),
        "sha256": extract.sha256,
        "model": name,
        "preprocessing": extract.preprocessing._asdict(),
        "data": {key: data[key] for key in _DATA},
        "width": train.values.shape[1],
        "training_examples": len(train.labels),
        "chosen_on": data.validation_split or f"{FOLDS} folds of {data.train_split}",
        "methods": {
            linear.name: _result(choices[0], head.predict, tested),
            neighbours.name: _result(choices[1], vote, tested),
        },
        "seconds": round(time.monotonic() - began, 1),
        "versions": versions(),
        "commit": commit(),
    }
    write_text(folder / RECORD, json_text(record, pretty=True) + "\n")
    return Probed(record, name, loaded, head, task.class_names)


def _folder(folder: Path) -> Path:
    """Create the folder of the record, which must not hold a run or a result on the test split."""
    if (folder / CONFIG_FILE).exists():
        raise UserError(f"{folder} is the folder of a run; give --workdir another folder")
    path = folder / RECORD
    if path.exists() and any("test" in m for m in read_json(path, _SHAPE)["methods"].values()):
        raise UserError(
            f"{path} has results on the test split, which is used once; give --workdir another "
            "folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(str(path))
    return folder


def _task(config: ConfigDict, weights: str, test: bool) -> SingleLabelClassification:
    """Return the task with the data of a configuration, and with no other part of it."""
    config = ConfigDict(config)
    if config.task != default_config().task:
        raise UserError(f"only weights of {default_config().task} can be probed, got {config.task}")
    config.model, config.init.weights = default_config().model, None
    task = SingleLabelClassification(resolve_config(config, run_path(weights), training=True))
    split = task.config.data.test_split
    if test and split is None:
        raise UserError("there is nothing to test on: data.test_split is None")
    if not test:
        task.hold_out(split)
    return task


def _result(
    choice: Choice, predict: Callable[[np.ndarray], np.ndarray], tested: Features | None
) -> dict[str, Any]:
    """Return what the record says about a method."""
    result = {**choice.setting, **score(choice.correct, choice.examples)}
    if tested is not None:
        correct = int((predict(tested.values) == tested.labels).sum())
        result["test"] = score(correct, len(tested.labels))
    return {**result, "tried": choice.tried}
