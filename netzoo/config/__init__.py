"""The configuration of an experiment: its table of keys, and its file in a run.

A file in `configs/` starts from `default_config(task)` and sets the keys that differ. `validate`
rejects misspelt keys and suggests similar keys.
"""

from netzoo.config.files import CONFIG_FILE, check_same_run, load_config, near_run, save_config
from netzoo.config.table import (
    default_config,
    flatten,
    shared_values,
    task_table,
    validate,
)

__all__ = [
    "CONFIG_FILE",
    "check_same_run",
    "default_config",
    "flatten",
    "load_config",
    "near_run",
    "save_config",
    "shared_values",
    "task_table",
    "validate",
]
