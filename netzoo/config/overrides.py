"""Reads the configuration of a command line: a file and `--config.KEY=VALUE`."""

import re
import runpy
import traceback
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from netzoo.config.table import parse
from netzoo.errors import UserError, did_you_mean
from netzoo.paths import user_path

_CONFIGS = "netzoo.configs"  # the folder configs/ of the repository, once netzoo is installed
_FLAG = re.compile(r"-(?![\d.])")  # but not a negative number


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separate the overrides from the other arguments.

    Args:
      arguments: The command line. An override is `--config.KEY=VALUE` or `--config.KEY VALUE`.
        `--config.KEY` before another flag or at the end sets True; `--noconfig.KEY` sets False. A
        negative number is a value.

    Returns:
      The other arguments, and the values as text by key.
    """
    rest, overrides = [], {}
    left = list(arguments)
    while left and left[0] != "--":
        flag, equals, value = left.pop(0).partition("=")
        dashes, separator, key = flag.partition("config.")
        if not separator:
            rest.append(flag + equals + value)
        elif dashes in ("-", "--"):
            if not equals:
                value = left.pop(0) if left and not _FLAG.match(left[0]) else "True"
            overrides[key] = value
        elif dashes in ("-no", "--no"):
            overrides[key] = "False"
        else:
            rest.append(flag + equals + value)
    return rest + left, overrides


def override(config: ConfigDict, overrides: Mapping[str, str]) -> None:
    """Set keys in place to the values from `split_overrides`.

    Raises:
      UserError: Keys or values are invalid; the message lists all, one per line.
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
    """Run the file of an experiment and return its configuration.

    Args:
      file: A path, or the name of a configuration in the package, such as `"mobilenet_v2"`. A
        suffix `:ARGUMENT` is passed to the file's `get_config`.

    Raises:
      UserError: The file cannot be read, or its code failed; the message names the line.
    """
    user_path(file)  # refuses an address
    path, colon, argument = file.partition(":")
    path = str(user_path(path))
    if not Path(path).is_file():
        path = _in_package(path)
    return run_file(path, "get_config", "the configuration", *([argument] if colon else []))


def run_file(file: str, function: str, result: str, *arguments: str) -> Any:
    """Run a Python file and return what one of its functions returns.

    Args:
      file: Its path.
      function: The name of the function.
      result: What the function returns, for the error if the file lacks the function.
      *arguments: Arguments of the function.

    Raises:
      UserError: The file cannot be read, or its code failed; the message names the line.
    """
    path = str(user_path(file))
    try:
        namespace = runpy.run_path(path)
        if function not in namespace:
            raise UserError(f"expected a function {function} that returns {result}")
        return namespace[function](*arguments)
    except Exception as error:  # the file is code and may raise any error
        if isinstance(error, ModuleNotFoundError) and error.name == _CONFIGS:
            raise _not_installed(_CONFIGS) from None
        raise UserError(_located(error, Path(path))) from None


def _in_package(name: str) -> str:
    """Return the path of a configuration in the package.

    Raises:
      UserError: The name is neither a file nor a configuration of the package, or netzoo is not
        installed.
    """
    files = packaged_files(_CONFIGS)
    if name not in files:
        raise UserError(
            f"{name} is neither a file nor a configuration of the package."
            f"{did_you_mean(Path(name).stem, files)} All of them: {', '.join(files)}"
        )
    return str(files[name])


def packaged_files(package: str) -> dict[str, Path]:
    """Return the files of a folder of the repository, by name without extension, sorted.

    Args:
      package: What the folder becomes once netzoo is installed, such as `netzoo.configs`.

    Raises:
      UserError: netzoo is not installed.
    """
    try:
        folder = Path(str(resources.files(package)))
    except ModuleNotFoundError:
        raise _not_installed(package) from None
    return {path.stem: path for path in sorted(folder.glob("[a-z]*.py"))}


def _not_installed(package: str) -> UserError:
    return UserError(
        f"{package} cannot be found, because netzoo is not installed; run "
        "`pip install -e .` in its folder"
    )


def _located(error: Exception, path: Path) -> str:
    """Return the message on one line, with the file and the line that raised it."""
    text = " ".join(str(error).split())
    if not isinstance(error, UserError):
        text = f"{type(error).__name__}: {text}"
    folder = path.resolve().parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and file.resolve().parent == folder:  # not <frozen runpy>
            return f"{frame.filename}:{frame.lineno}: {frame.line}: {text}"
    return f"{path}: {text}"
