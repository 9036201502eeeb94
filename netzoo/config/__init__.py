"""The configuration of an experiment: every key with its default, its rules, and its file in a run.

A file in `configs/` starts from `default_config(task)` and sets what is special about its
experiment. The dictionary is locked: a misspelt key is an error that names the nearest right one.
"""

from netzoo.config.defaults import default_config
from netzoo.config.files import CONFIG_FILE, check_same_run, load_config, save_config
from netzoo.config.validation import validate

__all__ = [
    "CONFIG_FILE",
    "check_same_run",
    "default_config",
    "load_config",
    "save_config",
    "validate",
]
