"""Saves and loads the resolved configuration of a run."""

import json
import os
from pathlib import Path

from ml_collections import ConfigDict

from netzoo.buckets import is_in_bucket
from netzoo.config.table import default_config, flatten, source_kind, task_table, validate
from netzoo.errors import UserError
from netzoo.files import write_text
from netzoo.json_files import read_json
from netzoo.paths import run_path

CONFIG_FILE = "config.json"
_VALUE = (bool, int, float, str, None, [object])
_SHAPE = {"task": str, "*": (*_VALUE, {"*": _VALUE})}


def save_config(config: ConfigDict, workdir: Path) -> None:
    """Write the resolved configuration into the run folder."""
    write_text(workdir / CONFIG_FILE, json.dumps(config.to_dict(), indent=2) + "\n")


def load_config(workdir: Path) -> ConfigDict:
    """Read the configuration of a run.

    Raises:
      UserError: `workdir` is not a run, or the file is damaged or has other keys.
    """
    path = run_path(workdir) / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"{workdir} holds no run: it has no {CONFIG_FILE}. Pass the --workdir of `netzoo "
            f"train`.{near_run(workdir)}"
        )
    saved = _tuples(read_json(path, _SHAPE))
    try:
        config = default_config(saved["task"])
        for name, value in saved.items():
            if isinstance(value, dict) != isinstance(config.get(name), ConfigDict):
                raise ValueError(f"{name} is {value!r:.60}")
        config.update(saved)
        validate(config)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} is damaged or from another version of netzoo: {error}; correct the file, or "
            "use another --workdir"
        ) from None
    return config


def near_run(folder: str | os.PathLike[str]) -> str:
    """Return ` Did you mean PATH?` for a run up to two folders above or one below, else ""."""
    if is_in_bucket(folder):
        return ""
    folder = Path(folder)
    inner = sorted(folder.iterdir()) if folder.is_dir() else []
    runs = (p for p in (*folder.parents[:2], *inner) if (p / CONFIG_FILE).is_file())
    return next((f" Did you mean {run}?" for run in runs), "")


def check_same_run(config: ConfigDict, workdir: Path) -> None:
    """Check that a configuration continues a run with the same results.

    `train.epochs` may grow. A source of the same kind may have another path, because training
    compares the examples (`netzoo.training.continuation`).

    Raises:
      UserError: Keys differ; the message lists them with both values.
    """
    old, new = flatten(load_config(workdir)), flatten(config)
    free = task_table(config.task).free
    differing = [
        f"  {key}: the run has {old.get(key)!r}, now {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
        and key not in free
        and f"{key.partition('.')[0]}." not in free
        and not (key == "train.epochs" and new[key] > old[key])
        and not (key == "data.source" and source_kind(new[key]) == source_kind(old[key]) != "")
    ]
    if differing:
        raise UserError(
            f"{workdir} is a run with another configuration:\n"
            + "\n".join(differing)
            + "\nContinue the run with its own values (train.epochs may grow), or start a new run "
            f"from its weights: --workdir NEW --config.init.weights={workdir}"
        )


def _tuples(value):
    """Convert lists of JSON to the tuples of configurations."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
