"""The configuration that a command line gives: a file of it, and `--config.KEY=VALUE`."""

import re
import runpy
import traceback
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from ml_collections import ConfigDict

from netzoo.config.table import parse
from netzoo.errors import UserError, did_you_mean

_CONFIGS = "netzoo.configs"  # the folder configs/ of the repository, where netzoo is installed
_FLAG = re.compile(r"-(?![\d.])")  # as opposed to a negative number


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separates the overrides from the other arguments.

    Args:
      arguments: As typed. An override is `--config.KEY=VALUE` or `--config.KEY VALUE`;
        `--config.KEY` before another flag or at the end, and `--noconfig.KEY`, are switches. A
        negative number is a value.

    Returns:
      The other arguments, and the texts of the values by key.
    """
    rest, overrides = [], {}
    left = list(arguments)
    while left and left[0] != "--":
        flag, equals, value = left.pop(0).partition("=")
        dashes, _, key = flag.partition("config.")
        if dashes in ("-", "--"):
            if not equals:
                value = left.pop(0) if left and not _FLAG.match(left[0]) else "True"
            overrides[key] = value
        elif dashes in ("-no", "--no"):
            overrides[key] = "False"
        else:
            rest.append(flag + equals + value)
    return rest + left, overrides


def override(config: ConfigDict, overrides: Mapping[str, str]) -> None:
    """Sets keys, in place, to the values that `split_overrides` returned.

    Raises:
      UserError: With every key that is unknown, one a line.
    """
    faults = []
    for name, text in overrides.items():
        try:
            config.update_from_flattened_dict({name: parse(config, name, text)})
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("\n".join(faults))


def read_config(file: str) -> ConfigDict:
    """Runs the file of an experiment and returns its configuration.

    Args:
      file: A path, or the name of a configuration in the package, such as `"mobilenet_v2"`. With
        `:ARGUMENT` behind it, the file's `get_config` is called with that argument.

    Raises:
      UserError: The file cannot be read, or its code failed; names the line that failed.
    """
    path, colon, argument = file.partition(":")
    if not Path(path).is_file():
        path = _in_package(path)
    try:
        namespace = runpy.run_path(path)
        if "get_config" not in namespace:
            raise UserError("expected a function get_config, which returns the configuration")
        return namespace["get_config"](*([argument] if colon else []))
    except Exception as error:  # the file is code, and may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == _CONFIGS:
            raise _not_installed() from None
        raise UserError(_located(error, Path(path))) from None


def _in_package(name: str) -> str:
    """Returns the path of a configuration of the package by its name.

    Raises:
      UserError: Neither a file nor a configuration of the package has this name, or netzoo is not
        installed.
    """
    try:
        folder = Path(str(resources.files(_CONFIGS)))
    except ModuleNotFoundError:
        raise _not_installed() from None
    names = sorted(path.stem for path in folder.glob("[a-z]*.py"))
    if name not in names:
        raise UserError(
            f"{name} is neither a file nor a configuration of the package."
            f"{did_you_mean(Path(name).stem, names)} All of them: {', '.join(names)}"
        )
    return str(folder / f"{name}.py")


def _not_installed() -> UserError:
    return UserError(
        f"there is no {_CONFIGS}: netzoo is used from its folder and is not installed; run "
        "`pip install -e .` there"
    )


def _located(error: Exception, path: Path) -> str:
    """Returns the message on one line, after the line of the file or its neighbour that raised."""
    text = " ".join(str(error).split())
    if not isinstance(error, UserError):
        text = f"{type(error).__name__}: {text}"
    folder = path.resolve().parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and file.resolve().parent == folder:  # not <frozen runpy>
            return f"{frame.filename}:{frame.lineno}: {frame.line}: {text}"
    return f"{path}: {text}"
