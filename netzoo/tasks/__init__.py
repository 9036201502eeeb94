"""What the one training loop can train: one file a task."""

from ml_collections import ConfigDict

from netzoo.errors import unknown_name
from netzoo.tasks.image_classification import ImageClassification
from netzoo.tasks.task import Task

TASKS = {"image_classification": ImageClassification}


def create_task(config: ConfigDict) -> Task:
    """Returns the task that `config.task` names, with its data opened.

    Raises:
      UserError: The task, the network or the data is not as the configuration says.
    """
    if config.task not in TASKS:
        raise unknown_name("task", config.task, TASKS)
    return TASKS[config.task](config)


__all__ = ["TASKS", "Task", "create_task"]
