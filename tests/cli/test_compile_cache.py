"""The cache of compiled programs: who may write into it, and entries that cannot be read."""

import os
import subprocess
import sys
import warnings

import jax
import pytest

from netzoo.cli import compile_cache
from netzoo.cli.compile_cache import use_compile_cache
from netzoo.errors import UserError
from tests.training.runs import ROOT


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of compiled programs of a user who has set only NETZOO_CACHE."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("NETZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    yield tmp_path / "cache" / "xla"
    jax.config.update("jax_compilation_cache_dir", before)


def test_only_the_user_can_open_the_cache(cache):
    """Protects from programs that others plant; an old folder that others can read becomes 0700."""
    use_compile_cache()
    assert jax.config.jax_compilation_cache_dir == str(cache)
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o755)
    jax.config.update("jax_compilation_cache_dir", None)
    use_compile_cache()
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("variable", "expected"), [(None, compile_cache.SHORTEST_SECONDS), ("3", 0.7)]
)
def test_short_compilations_are_cached_unless_the_user_decides(
    variable, expected, cache, monkeypatch
):
    """By JAX's default of a second, every prediction compiled its program again."""
    monkeypatch.delenv(compile_cache.SHORTEST_VARIABLE)
    if variable:
        monkeypatch.setenv(compile_cache.SHORTEST_VARIABLE, variable)
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.7)  # as JAX read it
    try:
        use_compile_cache()
        assert jax.config.jax_persistent_cache_min_compile_time_secs == expected
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


def writable(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o777)


def of_another_user(folder):
    folder.mkdir(parents=True)
    os.chown(folder, 12345, -1)


def link(folder):
    folder.parent.mkdir()
    folder.symlink_to(folder.parent)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (writable, "other users can write"),
        pytest.param(
            of_another_user,
            "belongs to user 12345",
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away"),
        ),
        (link, "is not a folder"),
    ],
)
def test_a_folder_that_others_may_have_filled_is_refused(make, reason, cache):
    """Protects from machine code of strangers: the error says how to go on."""
    make(cache)
    with pytest.raises(UserError, match=f"{reason}.* Remove it, or set NETZOO_CACHE or JAX_"):
        use_compile_cache()
    assert not jax.config.jax_compilation_cache_dir


def test_the_folder_of_jax_is_the_users_choice(cache):
    """Protects users who have set JAX_COMPILATION_CACHE_DIR, for example to a bucket."""
    jax.config.update("jax_compilation_cache_dir", "gs://bucket/xla")
    use_compile_cache()
    assert jax.config.jax_compilation_cache_dir == "gs://bucket/xla"
    assert not cache.exists()


def test_an_unreadable_entry_goes_and_other_warnings_are_shown(cache, monkeypatch, capsys):
    """Protects from a repeated warning about one entry; other warnings are still shown."""
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda *arguments: shown.append(arguments))
    use_compile_cache()
    for name in ("jit_a-0f-cache", "jit_ab-0f-cache"):
        (cache / name).touch()
    text = "Error reading persistent compilation cache entry for 'jit_a': error: truncated"
    warnings.showwarning(UserWarning(text), UserWarning, "file.py", 1)
    warnings.showwarning(UserWarning("something else"), UserWarning, "file.py", 1)
    assert [str(arguments[0]) for arguments in shown] == ["something else"]
    assert [path.name for path in cache.iterdir()] == ["jit_ab-0f-cache"]
    assert "jit_a is compiled again" in capsys.readouterr().err


COMPILE = """
import sys, jax
from netzoo.cli.compile_cache import use_compile_cache
use_compile_cache()
print(jax.jit(lambda x: 2 * x + 1)(3.0))
"""


@pytest.fixture
def compiled(tmp_path):
    """Compile with an empty NETZOO_CACHE in some processes at once; return their messages."""
    environment = {**os.environ, "NETZOO_CACHE": str(tmp_path)}
    environment.pop(compile_cache.JAX_VARIABLE)
    options = {"cwd": ROOT, "env": environment, "text": True}
    options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    def compiled(processes=1):
        command = [sys.executable, "-c", COMPILE]
        started = [subprocess.Popen(command, **options) for _ in range(processes)]
        printed = [process.communicate() for process in started]
        assert [output for output, _ in printed] == ["7.0\n"] * processes, printed
        return "".join(errors for _, errors in printed)

    return compiled


@pytest.mark.slow
def test_four_processes_fill_an_empty_cache_at_once(compiled, tmp_path):
    """Protects the first use by several processes, each of which may write the entry."""
    assert compiled(4) == ""
    assert len(list((tmp_path / "xla").glob("jit__lambda-*-cache"))) == 1
    assert compiled() == ""


@pytest.mark.slow
def test_a_half_written_entry_is_replaced(compiled, tmp_path):
    """Protects from a warning for ever: a killed process may leave a part of an entry."""
    assert compiled() == ""
    [entry] = (tmp_path / "xla").glob("jit__lambda-*-cache")
    whole = entry.read_bytes()
    entry.write_bytes(whole[: len(whole) // 2])
    [line] = compiled().splitlines()
    assert line.startswith("jit__lambda is compiled again: its entry in")
    assert entry.stat().st_size > len(whole) // 2
    assert compiled() == ""
