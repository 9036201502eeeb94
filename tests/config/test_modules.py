"""User modules: which are imported, and which are not."""

import sys

import pytest

from netzoo.config.modules import import_modules
from netzoo.errors import UserError


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files into a folder of the import path; each leaves a trace when it is executed."""
    for folder in ("path", "run"):
        (tmp_path / folder).mkdir()
        monkeypatch.syspath_prepend(tmp_path / folder)
    before = set(sys.modules)

    def write(file: str, text: str = "import netzoo.errors\n"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\nopen({str(tmp_path / 'executed')!r}, 'w').close()\n")

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


def test_what_a_module_prints_is_no_result(write, tmp_path, capsys):
    """Protects `--json` from the prints of a user's module."""
    write("path/own_talk.py", "import netzoo.errors\nprint('hello')")
    import_modules(("own_talk",), tmp_path / "run")
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.endswith("hello\n")


@pytest.mark.parametrize(
    ("file", "name"),
    [("own_module.py", "own_module"), ("own_package/inner.py", "own_package.inner")],
)
def test_a_module_that_imports_netzoo_is_imported_once(file, name, write, tmp_path, capsys):
    """Protects users' networks; the package needs no `__init__.py`."""
    write(f"path/{file}")
    import_modules((name,), tmp_path / "run")
    assert (tmp_path / "executed").exists()
    assert capsys.readouterr().err == f"importing {name} from {tmp_path / 'path' / file}\n"
    import_modules((name,), tmp_path / "run")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        ({}, "own_nothing", "own_nothing, which is not on the import path"),
        ({"path/own_module.py": "import os"}, "own_module", "does not import netzoo"),
        ({"path/own_module.py": "from .netzoo import x"}, "own_module", "does not import netzoo"),
        ({"path/own_module.py": "import netzoo ("}, "own_module", "cannot read the module"),
        ({"run/own_module.py": "import netzoo"}, "own_module", "is in the run folder"),
        (
            {"run/own_package/__init__.py": "", "run/own_package/inner.py": "import netzoo"},
            "own_package.inner",
            "is in the run folder",
        ),
        ({"path/own_module.py": "import netzoo"}, "own_module.inner", "not on the import path"),
        ({}, "antigravity", "does not import netzoo"),
        ({}, "xxsubtype", "does not import netzoo"),
    ],
)
def test_what_is_refused_is_not_executed(files, name, message, write, tmp_path):
    """Protects from untrusted runs, whose `config.json` may name any module."""
    for file, text in files.items():
        write(file, text)
    loaded = name in sys.modules
    with pytest.raises(UserError, match=message):
        import_modules((name,), tmp_path / "run")
    assert not (tmp_path / "executed").exists()
    assert (name in sys.modules) == loaded


def test_a_link_into_the_run_folder_is_refused(write, tmp_path):
    """Protects from a run folder on the import path under another name."""
    write("run/own_module.py")
    (tmp_path / "path" / "own_linked.py").symlink_to(tmp_path / "run" / "own_module.py")
    with pytest.raises(UserError, match="is in the run folder"):
        import_modules(("own_linked",), tmp_path / "run")


def test_a_module_that_fails_says_why(write, tmp_path):
    """Protects users from a netzoo traceback for an error in their module."""
    write("path/own_module.py", "import netzoo\nraise ValueError('no')")
    with pytest.raises(UserError, match="cannot import own_module: ValueError: no"):
        import_modules(("own_module",), tmp_path / "run")
