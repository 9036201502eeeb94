"""The tasks of the training loop, one folder of `netzoo.tasks` each.

The modules of a folder are imported on demand, because records and configuration keys do not need
JAX, which takes seconds to import. A new task needs a folder and one line in `TASKS`.
"""

import importlib
from types import ModuleType

from netzoo.errors import UserError, unknown_name

TASKS = {
    "image_classification": "netzoo.tasks.classification",
    "translation": "netzoo.tasks.translation",
}
# The extras that install the libraries of a single task.
EXTRAS = {"sacrebleu": "translate", "sentencepiece": "translate"}
# The task of `default_config`, and of old records that name none.
DEFAULT_TASK = "image_classification"


def task_module(task: str, name: str) -> ModuleType:
    """Import a module of a task's folder.

    `"config"` defines KEYS, DEFAULTS for the keys of every task, and BATCH_ROWS, OPTIONS, FREE and
    LOCAL (see `netzoo.config.table.Table`), and perhaps a function `conflicts`. `"task"` defines
    the function `task_class(config)`. `"predict"` defines the functions `predict`, with its
    `Options`, and `load`. `"record"` defines the function `record_of`, which
    returns a `netzoo.tasks.record.Record`.

    Raises:
      UserError: The task is unknown, or a required library is not installed.
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
