"""What the one training loop can train: a folder a task, named in `netzoo.config.tasks`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict, FrozenConfigDict

from netzoo.config import validate
from netzoo.config.modules import import_modules
from netzoo.config.tasks import task_module
from netzoo.errors import UserError

if TYPE_CHECKING:
    from netzoo.tasks.task import Task


def resolve_config(
    config: ConfigDict, workdir: Path | None = None, *, training: bool = False
) -> FrozenConfigDict:
    """Checks a configuration and decides what it leaves open, as it is saved with the run.

    Imports the modules that it names; see `netzoo.config.modules`.

    Args:
      config: The configuration. A resolved one stays as it is.
      workdir: The run folder, if there is one.
      training: See `netzoo.config.validate`.

    Raises:
      UserError: A key or value is not right, a module cannot be imported, or the network or one of
        its options is unknown.
    """
    from netzoo.models.registry import check_options

    validate(config, training=training)
    import_modules(config.modules, workdir)
    config = ConfigDict(config).copy_and_resolve_references()
    task_module(config.task, "task").TASK.resolve(config)
    check_options(config.model.name, [option for option in config.model if option != "name"])
    return FrozenConfigDict(config)


def create_task(config: ConfigDict, workdir: Path | None = None) -> "Task":
    """Returns the task that `config.task` names, with its data opened.

    It takes what it saved in the run folder `workdir`, such as the vocabulary.

    Raises:
      UserError: The task, the network or the data is not as the configuration says.
    """
    return task_module(config.task, "task").TASK(resolve_config(config, workdir), workdir)


def predict(
    config: ConfigDict, workdir: Path, inputs: Sequence[str], options: Mapping[str, Any]
) -> int:
    """Predicts with the weights of a run, prints or writes the answers, and returns the status.

    `inputs` are files and folders of images, or sentences. `options` are values for fields of the
    task's `Options`; the other fields keep their defaults.

    Raises:
      UserError: The task has no such option, or raises it; see its `predict`.
    """
    module = task_module(config.task, "predict")
    if unknown := options.keys() - module.Options._fields:
        raise UserError(
            f"--{min(unknown)} is not an option of {config.task}, the task of {workdir}; expected "
            f"--{', --'.join(module.Options._fields)}"
        )
    return module.predict(config, workdir, inputs, module.Options(**options))
