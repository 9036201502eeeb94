"""The configuration of an experiment: the table of its keys, and its file in a run.

A file in `configs/` starts from `default_config(task)` and sets what is special about its
experiment. `validate` refuses a misspelt key with the nearest right one.
"""

from netzoo.config.files import CONFIG_FILE, check_same_run, load_config, save_config
from netzoo.config.table import default_config, flatten, task_table, validate

__all__ = [
    "CONFIG_FILE",
    "check_same_run",
    "default_config",
    "flatten",
    "load_config",
    "save_config",
    "task_table",
    "validate",
]
