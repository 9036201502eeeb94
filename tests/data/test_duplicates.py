"""Images that occur twice."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from netzoo.cli import check as command
from netzoo.data.duplicates import Pair, doubtful, find_duplicates, read_pairs, write_pairs
from netzoo.data.examine import examine
from netzoo.data.sources.open import open_source
from netzoo.errors import UserError

pytest.importorskip("imagehash")


def scene(seed, size=(96, 64), gain=1.0, quality=90):
    """A smooth picture, whose content depends on the seed alone."""
    coarse = np.random.default_rng(seed).integers(0, 200, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.point(lambda x: min(255, int(x * gain))).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Eight scenes of two classes; a copy, a resized brighter copy, and a copy in another class."""
    root = tmp_path / "photos"
    for split in ("train", "test"):
        for name in ("cats", "dogs"):
            (root / split / name).mkdir(parents=True)
    for seed in range(8):
        place = root / ("train" if seed < 6 else "test") / ("cats", "dogs")[seed % 2]
        (place / f"{seed}.jpg").write_bytes(scene(seed))
    (root / "train" / "cats" / "copy.jpg").write_bytes(scene(0))
    (root / "test" / "dogs" / "near.jpg").write_bytes(scene(1, (72, 50), 1.2, 70))
    (root / "train" / "dogs" / "contradiction.jpg").write_bytes(scene(2))
    return root


def images_of(folder, **options):
    sources = [open_source(f"folder:{folder}", split) for split in ("train", "test")]
    return [image for source in sources for image in examine(source, **options)]


def test_every_kind_of_pair_is_found_and_no_other(folder):
    """Identical files, the same picture in another form, and two classes for one picture."""
    pairs = find_duplicates(images_of(folder))
    found = {frozenset((pair.first, pair.second)): pair for pair in pairs}
    copy = found.pop(frozenset(("train/cats/0.jpg", "train/cats/copy.jpg")))
    assert (copy.distance, copy.contradicting) == (-1, False)
    wrong = found.pop(frozenset(("train/cats/2.jpg", "train/dogs/contradiction.jpg")))
    assert (wrong.distance, wrong.contradicting) == (-1, True)
    near = found.pop(frozenset(("train/dogs/1.jpg", "test/dogs/near.jpg")))
    assert 0 <= near.distance <= 76 and not near.contradicting
    assert {near.first_split, near.second_split} == {"train", "test"}
    assert not found
    identical = find_duplicates(images_of(folder, hashing=False))
    assert identical == [copy, wrong]  # no package is needed for these


def test_what_a_score_leaves_out():
    """Images that training knows, and those with two classes; not both halves of a test pair."""
    same = {"first_class": "a", "second_class": "a", "first_split": "", "second_split": ""}
    pairs = [
        Pair(0, False, first="known", second="train 1", **same),
        Pair(0, False, first="twice", second="twice too", **same),
        Pair(0, True, first="cat", second="dog", **same),
        Pair(0, True, first="train 2", second="train 3", **same),
    ]
    assert doubtful(pairs, ["known", "twice", "twice too", "cat", "dog", "x"]) == {
        *("known", "cat", "dog")
    }


def test_a_list_comes_back_from_its_file(folder, tmp_path):
    """Names with commas, quotes and escape codes are escaped."""
    pairs = [Pair(3, True, 'a,"b\x1b', "train", "cats", "c", "te,st", "dogs")]
    write_pairs(tmp_path / "list.csv", pairs)
    assert read_pairs(tmp_path / "list.csv") == pairs
    for text in ("", "x\n", ",".join(Pair._fields) + "\n1,2\n", ",".join(Pair._fields) + "\nx,1\n"):
        (tmp_path / "list.csv").write_text(text)
        with pytest.raises(UserError, match=r"list\.csv is not a list of `netzoo check`"):
            read_pairs(tmp_path / "list.csv")
    with pytest.raises(UserError, match="cannot read"):
        read_pairs(tmp_path / "missing.csv")


def test_the_command_lists_and_draws_pairs(folder, tmp_path, capsys):
    """One command: tables, a list and a sheet; a corrupt image is named; --strict fails."""
    (folder / "test" / "dogs" / "near.jpg").write_bytes(b"no image")
    files = ["--out", str(tmp_path / "list.csv"), "--sheet", str(tmp_path / "sheet.png")]
    splits = ["--splits", "train", "test"]
    assert command.main([f"folder:{folder}", *files, *splits]) == 0
    output = capsys.readouterr().out
    assert "2 identical pairs, 0 near pairs; 0 across splits, 1 with two classes" in output
    assert "test/dogs/near.jpg" in output and "1 of 3 images of" in output
    assert (
        "see train.balance" not in output
        and "11 images of" in output
        and "width 96 to 96 pixels, median 96" in output
    )
    assert len(read_pairs(tmp_path / "list.csv")) == 2
    assert Image.open(tmp_path / "sheet.png").size == (4 * 264, 152)
    assert command.main([f"folder:{folder}", "--strict"]) == 1
    with pytest.raises(UserError, match="--near 300; expected"):
        command.main([f"folder:{folder}", "--near", "300"])
    with pytest.raises(UserError, match="--exact finds identical files only"):
        command.main([f"folder:{folder}", "--exact", *files])


def test_json_and_the_problems(folder, capsys):
    """A pair across splits and a contradiction are problems; a copy in one class is allowed."""
    assert command.main([f"folder:{folder}", "--splits", "train", "test", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["problems"], len(found["duplicates"]), found["images"]) == (2, 3, 11)
    assert found["classes"] == {"train": {"cats": 4, "dogs": 4}, "test": {"cats": 1, "dogs": 2}}
    assert found["width"] == [72, 96, 96] and found["corrupt"] == []


def test_without_the_package(folder, monkeypatch, capsys):
    """Identical files are found without imagehash; a list for evaluations needs imagehash."""
    monkeypatch.setattr(command, "can_hash", lambda: False)
    monkeypatch.setattr("netzoo.data.examine.can_hash", lambda: False)
    command.main([f"folder:{folder}"])
    output = capsys.readouterr()
    assert "2 identical pairs, 0 near" in output.out and "pip install" in output.err
    with pytest.raises(UserError, match=r"netzoo\[duplicates\]"):
        command.main([f"folder:{folder}", "--out", "list.csv"])


def test_imbalanced_training_images_are_named(folder, capsys):
    """The message is about the training split only, which has three times as many dogs as cats."""
    for number in range(9):
        (folder / "train" / "dogs" / f"more{number}.jpg").write_bytes(scene(100 + number))
    command.main([f"folder:{folder}", "--exact", "--splits", "train", "test"])
    assert "in train, the most frequent class has 3.2 times" in capsys.readouterr().out
