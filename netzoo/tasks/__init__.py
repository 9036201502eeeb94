"""The tasks of the training loop, one folder each, listed in `netzoo.config.tasks`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict, FrozenConfigDict

from netzoo.config import flatten, load_config, validate
from netzoo.config.modules import import_modules
from netzoo.config.tasks import task_module
from netzoo.errors import UserError

if TYPE_CHECKING:
    from netzoo.tasks.task import Task


def resolve_config(
    config: ConfigDict,
    workdir: Path | None = None,
    *,
    training: bool = False,
    open_data: bool = True,
) -> FrozenConfigDict:
    """Check a configuration and fill in the values that it leaves undetermined.

    It also imports the modules of the configuration; see `netzoo.config.modules`. If
    `data.train_split` is None, the splits are those of `netzoo.data.splits.default_splits`. With
    `data.fold`, the training and validation splits are parts of the training split
    (`netzoo.data.folds`).

    Args:
      config: The configuration; a resolved configuration does not change.
      workdir: The run folder, if there is one.
      training: See `netzoo.config.validate`.
      open_data: Whether to open the source to find its splits; otherwise they stay None.

    Raises:
      UserError: A key or value is invalid, a module cannot be imported, the network or one of its
        options is unknown, or the source cannot be opened.
    """
    validate(config, training=training)
    import_modules(config.modules, workdir)
    config = ConfigDict(config).copy_and_resolve_references()
    _set_fold(config, divided=False)
    task = task_module(config.task, "task").task_class(config)
    _use_own_name(config)
    task.resolve(config)
    _check_network(config)
    if open_data and (training or config.data.train_split is None):
        _settle_splits(config, task.split_sizes(config), training)
    _set_fold(config, divided=True)
    return FrozenConfigDict(config)


def _set_fold(config: ConfigDict, *, divided: bool) -> None:
    """Divide the training split into `data.fold` and the rest, in place, or undo it."""
    if config.data.get("fold") is not None:
        from netzoo.data import folds

        (folds.apply_fold if divided else folds.unfold)(config.data)


def _settle_splits(
    config: ConfigDict, sizes: Mapping[str, Callable[[], int]], training: bool
) -> None:
    """Fill in the splits of a source, in place, and check that those of training are apart."""
    from netzoo.data.splits import check_apart, default_splits

    data, names = config.data, ("train_split", "validation_split", "test_split")
    if data.train_split is None:
        folded = data.get("fold") is not None
        splits = default_splits(sizes, data.validation_split, data.test_split, folded=folded)
        data.update(dict(zip(names, splits, strict=True)))
        validate(config, training=training)
    if training:
        check_apart({f"data.{name}": data[name] for name in names if data[name]}, sizes)


def _use_own_name(config: ConfigDict) -> None:
    """Replace another project's name of the network, in place, by netzoo's name and options."""
    from netzoo.models.registry import own_name

    name, implied = own_name(config.model.name)
    config.model.name = name
    config.model.update({n: value for n, value in implied.items() if n not in config.model})


def _check_network(config: ConfigDict) -> None:
    from netzoo.models.registry import check_options

    check_options(config.model.name, [option for option in config.model if option != "name"])


def run_config(workdir: Path, config: ConfigDict | None = None) -> FrozenConfigDict:
    """Return the configuration of a run for evaluation or prediction, and import its modules.

    Training resolved this configuration, so neither the initial weights nor the data are needed.

    Args:
      workdir: The run folder.
      config: A configuration with other values, or None. Where a value is None, the run's is used.

    Raises:
      UserError: The folder is not a run, a key or value is invalid, or a module cannot be imported.
    """
    own = load_config(workdir)
    config = ConfigDict(own if config is None else config).copy_and_resolve_references()
    given = flatten(config)
    open_keys = {key: value for key, value in flatten(own).items() if given.get(key, 0) is None}
    config.update_from_flattened_dict(open_keys)
    for divided in (False, True):  # `config` may have another fold than the run
        _set_fold(config, divided=divided)
    validate(config)
    import_modules(config.modules, workdir)
    _check_network(config)
    return FrozenConfigDict(config)


def create_task(config: ConfigDict, workdir: Path | None = None) -> "Task":
    """Create the task `config.task` and open its data.

    It loads the task's files from the run folder `workdir`, such as the vocabulary.

    Raises:
      UserError: The task, the network or the data does not fit the configuration.
    """
    return create_resolved_task(resolve_config(config, workdir), workdir)


def create_resolved_task(config: FrozenConfigDict, workdir: Path | None = None) -> "Task":
    """Create a task as `create_task` does, from a configuration that `resolve_config` returned.

    Resolving it again would read the file of `init.weights` again.
    """
    return task_module(config.task, "task").task_class(config)(config, workdir)


def evaluation_task(config: FrozenConfigDict, workdir: Path) -> "Task":
    """Create the task of a run for evaluation, which opens no training data.

    `config` comes from `run_config`.

    Raises:
      UserError: The classes or the vocabulary of the run cannot be read.
    """
    return task_module(config.task, "task").task_class(config).for_evaluation(config, workdir)


def load_predictor(config: ConfigDict, workdir: Path, checkpoint: str) -> Any:
    """Return the Predictor or the Translator with the weights of a run.

    `checkpoint` is `"last"`, `"best"` or `"average"`.

    Raises:
      UserError: The run cannot be read, or a required library is not installed.
    """
    return task_module(config.task, "predict").load(config, workdir, checkpoint)


def predict(
    config: ConfigDict, workdir: Path, inputs: Sequence[str], options: Mapping[str, Any]
) -> int:
    """Predict with the weights of a run, print or write the results, and return the status.

    `inputs` are files and folders of images, or sentences. `options` set fields of the task's
    `Options`; other fields keep their defaults.

    Raises:
      UserError: An option is unknown, or the task's `predict` raises a UserError.
    """
    module = task_module(config.task, "predict")
    if unknown := options.keys() - module.Options._fields:
        raise UserError(
            f"--{min(unknown)} is not an option of {config.task}, the task of {workdir}; expected "
            f"--{', --'.join(module.Options._fields)}"
        )
    return module.predict(config, workdir, inputs, module.Options(**options))
