"""Writers of a run's metrics besides metrics.jsonl: TensorBoard, wandb, mlflow and trackio.

A service gets the configuration when a run starts, and the numbers of each line of the log. A
failing service does not end the run, because metrics.jsonl holds all metrics.
"""

import contextlib
import importlib
import importlib.util
import re
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from netzoo.errors import UserError, note
from netzoo.files import write_text
from netzoo.json_files import read_json

# Values of the configuration key `writers`, besides "jsonl" and "tensorboard".
SERVICES = ("wandb", "mlflow", "trackio")
_IDENTITY_FILE = "writers.json"
_IDENTITY = re.compile("[0-9a-f]{8}")


class Writer(Protocol):
    """A destination of a run's metrics."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write the numbers of a step by their names, such as `train/loss`."""

    def close(self) -> None:
        """Write all remaining numbers, and close the destination."""


def check_writers(names: Sequence[str]) -> None:
    """Check that the packages of all services are installed.

    Raises:
      UserError: A package is missing; the message names the extra.
    """
    for name in names:
        if name in SERVICES and importlib.util.find_spec(name) is None:
            raise UserError(
                f"writers has {name!r}, which needs the package {name}: pip install "
                f"'netzoo[{name}]'; or leave {name!r} out"
            )


class Services:
    """The services of a run; each is left out after its first failure."""

    def __init__(self, names: Sequence[str], workdir: Path, config: Mapping[str, Any], new: bool):
        """Open services.

        Args:
          names: Some of `SERVICES`; other names are ignored.
          workdir: The folder of the run on the disk, for files that a service keeps.
          config: The configuration by key.
          new: Whether the run is new; False if it continues.

        Raises:
          UserError: A service cannot start, for example without a login.
        """
        self._writers: dict[str, Writer] = {}
        for name in filter(SERVICES.__contains__, names):
            identity = _identity(workdir, new=new and not self._writers)
            module = importlib.import_module(f"netzoo.workdir.writers.{name}")
            with _quiet():
                try:
                    self._writers[name] = module.open_writer(workdir, identity, config)
                except Exception as error:  # of any library
                    self.close()
                    raise UserError(f"the writer {name} cannot start: {error}") from error

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Pass numbers to all services."""
        for name in [*self._writers]:
            self._try(name, "write", step, numbers)

    def close(self) -> None:
        """Close all services."""
        for name in [*self._writers]:
            self._try(name, "close")
            self._writers.pop(name, None)

    def _try(self, name: str, method: str, *arguments: Any) -> None:
        try:
            with _quiet():
                getattr(self._writers[name], method)(*arguments)
        except Exception as error:  # of any library
            self._writers.pop(name)
            note(f"the writer {name} failed; the run continues without it: {error}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send what a library prints to standard error."""
    with contextlib.redirect_stdout(sys.stderr) if sys.stderr else contextlib.nullcontext():
        yield


def _identity(workdir: Path, *, new: bool) -> str:
    """Return the name under which services know the run; a continued run keeps it."""
    path = workdir / _IDENTITY_FILE
    if not new and path.exists():
        identity = read_json(path, {"run": str})["run"]
        if _IDENTITY.fullmatch(identity):
            return identity
    identity = secrets.token_hex(4)
    write_text(path, f'{{"run": "{identity}"}}\n')
    return identity
