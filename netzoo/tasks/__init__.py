"""What the one training loop can train: one file a task."""

from pathlib import Path

from ml_collections import ConfigDict

from netzoo.errors import unknown_name
from netzoo.tasks.classification.task import ImageClassification
from netzoo.tasks.network import create_network
from netzoo.tasks.task import Task
from netzoo.tasks.translation.task import Translation

TASKS = {"image_classification": ImageClassification, "translation": Translation}


def resolve_config(config: ConfigDict) -> ConfigDict:
    """Returns the configuration with what it leaves open decided, as it is saved with the run.

    Raises:
      UserError: The task, the network or one of its options is unknown, or keys contradict each
        other.
    """
    config = config.copy_and_resolve_references()
    _task_class(config).resolve(config)
    create_network(config, num_classes=1)  # refuses its name and options before data are opened
    return config


def create_task(config: ConfigDict, workdir: Path | None = None) -> Task:
    """Returns the task that `config.task` names, with its data opened.

    Args:
      config: The configuration.
      workdir: The run folder, from which the task takes what it saved there, if any.

    Raises:
      UserError: The task, the network or the data is not as the configuration says.
    """
    return _task_class(config)(resolve_config(config), workdir)


def _task_class(config: ConfigDict) -> type:
    if config.task not in TASKS:
        raise unknown_name("task", config.task, TASKS)
    return TASKS[config.task]


__all__ = ["TASKS", "Task", "create_task", "resolve_config"]
