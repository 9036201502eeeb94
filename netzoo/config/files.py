"""The resolved configuration as a file of the run, and what a continuation may change of it."""

import json
import os
from pathlib import Path

from ml_collections import ConfigDict

from netzoo.config.defaults import default_config, flatten
from netzoo.errors import UserError, unknown_name

CONFIG_FILE = "config.json"

# What may differ between a run and its continuation: where things lie and how often one looks,
# never what is computed.
FREE_TO_CHANGE = (
    "data.data_dir",
    "data.cache",
    "data.num_threads",
    "data.on_corrupt",  # to continue where a corrupt image stopped the run
    "checkpoint.",
    "sharding.",
    "profile",
)


def save_config(config: ConfigDict, workdir: Path) -> None:
    """Writes the resolved configuration into the run folder: all of it or nothing."""
    partial = workdir / f"{CONFIG_FILE}.partial"
    partial.write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    os.replace(partial, workdir / CONFIG_FILE)


def load_config(workdir: Path) -> ConfigDict:
    """Reads the configuration of a run.

    Raises:
      UserError: `workdir` holds no run, or what it holds cannot be read.
    """
    path = Path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"{workdir} holds no run: {path} does not exist. Give the --workdir that train.py had."
        )
    try:
        saved = _tuples(json.loads(path.read_text()))
        config = default_config(saved["task"])
        known = flatten(config)
        with config.unlocked():
            config.update(saved)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no configuration of a run, or a damaged one: {error}") from None
    for key in flatten(config):
        if key not in known and not key.startswith("model."):
            raise UserError(f"{path}: {unknown_name('key', key, known)}; was it renamed since?")
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
        if old.get(key) != new.get(key) and not key.startswith(FREE_TO_CHANGE)
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
