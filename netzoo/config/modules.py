"""User modules, which add networks, optimizers, sources and augmentations.

The key `modules` names them, also in the `config.json` of a run, which may be untrusted. Nothing in
a run folder is executed: a module is imported only if it is elsewhere on the import path and its
source imports netzoo. Both checks execute no code of the module.
"""

import ast
import contextlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from netzoo.buckets import is_in_bucket
from netzoo.errors import UserError, note


def import_modules(names: Sequence[str], workdir: Path | None = None) -> None:
    """Import modules, and print the file of each on standard error.

    A module that is already imported stays unchanged.

    Args:
      names: Dotted names, such as `config.modules`.
      workdir: The run folder, from which no module is imported.

    Raises:
      UserError: A module is not on the import path, is in the run folder, does not import netzoo,
        or fails.
    """
    for name in names:
        if name in sys.modules:
            continue
        specs = _find(name)
        for path in (Path(spec.origin) for spec in specs if spec.origin and spec.has_location):
            if workdir is None or is_in_bucket(workdir):
                continue
            if path.resolve().is_relative_to(workdir.resolve()):
                raise _refusal(
                    name,
                    f"is in the run folder, {path}, where no code is executed; move it to another "
                    "folder of the import path",
                )
        path = Path(specs[-1].origin or "")
        if path.suffix != ".py" or not _imports_netzoo(path):
            raise _refusal(
                name,
                "does not import netzoo; list the module that registers your network, optimizer, "
                "source, etc.",
            )
        note(f"importing {name} from {path}")
        try:
            with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
                importlib.import_module(name)
        except Exception as error:  # the module is code and may raise any error
            raise UserError(f"cannot import {name}: {type(error).__name__}: {error}") from error


def _find(name: str) -> list[ModuleSpec]:
    """Return the specs of a module's packages and of the module."""
    parts = name.split(".")
    specs: list[ModuleSpec] = []
    for count in range(1, len(parts) + 1):
        inner = ".".join(parts[:count])
        if count == 1:
            try:
                spec = importlib.util.find_spec(inner)
            except ValueError:  # in sys.modules without a spec
                spec = None
        else:
            spec = PathFinder.find_spec(inner, specs[-1].submodule_search_locations or [])
        if spec is None:
            raise _refusal(name, "is not on the import path; install it, or set PYTHONPATH")
        specs.append(spec)
    return specs


def _imports_netzoo(path: Path) -> bool:
    """Parse the source of a module and return whether it imports netzoo."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"cannot read the module {path}: {error}") from None
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [
        node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level
    ]
    return any(name.partition(".")[0] == "netzoo" for name in names)


def _refusal(name: str, reason: str) -> UserError:
    return UserError(f"the configuration key `modules` lists {name}, which {reason}")
