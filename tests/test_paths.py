"""Paths of a user: `~` is expanded, and addresses are refused before anything else happens."""

import os
from pathlib import Path

import pytest

from netzoo import Predictor, load_weights
from netzoo.cache import CACHE_VARIABLE, cache_folder
from netzoo.cli.main import main
from netzoo.cli.prepare import prepare
from netzoo.cli.record import make_record, results_tables
from netzoo.config import default_config, load_config, save_config
from netzoo.config.overrides import read_config
from netzoo.data.sources.open import open_source, split_sizes
from netzoo.data.sources.tfds import find_builder
from netzoo.errors import UserError
from netzoo.paths import user_path
from netzoo.tasks.translation import sources
from netzoo.tasks.translation.vocabulary import Vocabulary
from netzoo.training import train
from netzoo.training.evaluate_run import evaluate_run

BUCKET = "s3://bucket/x"  # tests/workdir/test_bucket.py has gs://, where a run may lie


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home of the user, who works in another folder."""
    for name in ("home", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


def test_a_path_is_expanded_or_refused(home):
    """Protects the function that all paths of users go through."""
    assert user_path("~/x") == home / "x"
    assert user_path("a/~/b") == Path("a/~/b")
    assert user_path(Path("/a")) == Path("/a")
    with pytest.raises(UserError, match="the user 'nobody-at-all' does not exist"):
        user_path("~nobody-at-all/x")
    for address in (BUCKET, "gs://bucket/x", "https://a/b", "file:///a"):
        with pytest.raises(UserError, match=f"{address} is an address"):
            user_path(address)


@pytest.mark.parametrize(
    "use",
    [
        lambda: train(default_config(), BUCKET),
        lambda: evaluate_run(BUCKET),
        lambda: load_config(BUCKET),
        lambda: read_config(f"{BUCKET}.py"),
        lambda: Predictor.from_run(BUCKET),
        lambda: Predictor.from_weights(BUCKET),
        lambda: load_weights(BUCKET, "resnet18"),
        lambda: make_record(BUCKET, "out"),
        lambda: make_record("run", BUCKET),
        lambda: results_tables(BUCKET),
        lambda: prepare("tf_flowers", BUCKET, None),
        lambda: prepare("synthetic_flowers", None, BUCKET),
        lambda: open_source(f"folder:{BUCKET}", "train"),
        lambda: split_sizes(f"folder:{BUCKET}"),
        lambda: split_sizes("tfds:mnist", BUCKET),
        lambda: sources.split_sizes(f"parallel:{BUCKET}.{{en,de}}"),
        lambda: sources.read_pairs(f"parallel:{BUCKET}.{{en,de}}", "train"),
        lambda: Vocabulary.load(BUCKET),
    ],
)
def test_addresses_are_refused_at_once(use, home):
    """Protects against a folder `gs:` on the disk, and an error after the compilation."""
    with pytest.raises(UserError, match="is an address"):
        use()
    assert os.listdir() == []


def test_flags_with_addresses_are_one_line(home, capsys):
    """Protects the flags of outputs."""
    for command in (["contact_sheet", "synthetic_flowers"], ["plan", "--config", "quickstart"]):
        with pytest.raises(SystemExit):
            main([*command, "--out", BUCKET])
        assert f"argument --out: {BUCKET} is an address" in capsys.readouterr().err
    assert os.listdir() == []


def test_the_home_of_the_user_is_expanded(home, pictures, monkeypatch):
    """Protects against a folder named `~`, which a shell removes together with the home."""
    (home / "flowers").symlink_to(pictures)
    assert len(open_source("folder:~/flowers", "train")) == 40
    assert Path(find_builder("mnist", "~/d").data_dir).is_relative_to(home / "d")
    (home / "run").mkdir()
    save_config(default_config(), home / "run")
    assert load_config("~/run") == default_config()
    monkeypatch.setenv(CACHE_VARIABLE, "~/c")
    assert cache_folder() == home / "c"
    (home / "photos").mkdir()
    (home / "photos" / "0.jpg").touch()
    with pytest.raises(UserError, match=f"{home}/photos holds no run of netzoo"):
        train(default_config(), "~/photos")
    assert os.listdir() == []


def test_a_missing_data_folder_is_named(home, monkeypatch):
    """Protects users: for a wrong folder, the error suggests a folder and no other data set."""
    (home / "data" / "mine").mkdir(parents=True)
    with pytest.raises(UserError, match=r"home/dat is not a folder: .* Did you mean 'data'\?"):
        find_builder("mine", "~/dat")
    monkeypatch.chdir(home)
    with pytest.raises(UserError, match=r"dat is not a folder: .* Did you mean 'data'\?"):
        find_builder("mine", "dat")
    with pytest.raises(UserError, match=r"home/data holds none\. Did you mean 'mine' or"):
        find_builder("mine2", "~/data")
