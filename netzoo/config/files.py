"""The resolved configuration as a file of the run."""

import json
import os
from pathlib import Path

from ml_collections import ConfigDict

from netzoo.config.table import default_config, flatten, task_table, validate
from netzoo.errors import UserError

CONFIG_FILE = "config.json"


def save_config(config: ConfigDict, workdir: Path) -> None:
    """Writes the resolved configuration into the run folder: all of it or nothing."""
    partial = workdir / f"{CONFIG_FILE}.partial"
    partial.write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    os.replace(partial, workdir / CONFIG_FILE)


def load_config(workdir: Path) -> ConfigDict:
    """Reads the configuration of a run.

    Raises:
      UserError: `workdir` holds no run, or the file is damaged or has other keys.
    """
    path = Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"{workdir} holds no run: {path} does not exist. Give the --workdir of `netzoo train`."
        )
    try:
        saved = _tuples(json.loads(path.read_text()))
        config = default_config(saved["task"])
        config.update(saved)
        validate(config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged, or of another version of netzoo: {error}; give another --workdir"
        ) from None
    return config


def check_same_run(config: ConfigDict, workdir: Path) -> None:
    """Refuses to continue a run under a configuration that would compute something else.

    Raises:
      UserError: The differing keys with both values.
    """
    old, new = flatten(load_config(workdir)), flatten(config)
    differing = [
        f"  {key}: the run has {old.get(key)!r}, now {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(task_table(config.task).free)
    ]
    if differing:
        raise UserError(
            f"{workdir} holds a run of another configuration:\n"
            + "\n".join(differing)
            + "\nContinue it with its own values, or give a new --workdir."
        )


def _tuples(value):
    """JSON has lists where the configuration has tuples."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
