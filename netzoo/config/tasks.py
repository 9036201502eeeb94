"""The tasks that the one training loop can train: one folder of `netzoo.tasks` each.

Modules of a folder are imported when they are needed: records and configuration keys do without
JAX, which takes seconds to load. A new task is its folder and one line in `TASKS`.
"""

import importlib
from types import ModuleType

from netzoo.errors import UserError, unknown_name

TASKS = {
    "image_classification": "netzoo.tasks.classification",
    "translation": "netzoo.tasks.translation",
}
# Libraries that one task needs and others do not, by the extra that installs them.
EXTRAS = {"sacrebleu": "translate", "sentencepiece": "translate"}
# Records and configurations that name no task are from before there was a second one.
DEFAULT_TASK = "image_classification"


def task_module(task: str, name: str) -> ModuleType:
    """Imports a module of a task's folder.

    `"config"` has KEYS, DEFAULTS for keys that every task has, and DIVIDED, OPTIONS and FREE, which
    `netzoo.config.table.Table` explains. `"task"` has the class `TASK`, `"predict"` a function
    `predict` and its `Options`, and `"record"` `RECORD`.

    Raises:
      UserError: The task is unknown, or a library that it needs is not installed.
    """
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    try:
        return importlib.import_module(f"{TASKS[task]}.{name}")
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in EXTRAS:
            raise
        raise UserError(
            f"{task} needs the package {package}: pip install 'netzoo[{EXTRAS[package]}]'"
        ) from error
