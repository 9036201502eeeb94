"""Layouts of folders: each is understood and described, or refused before training."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netzoo.data import EvalBatches, open_source
from netzoo.data.source import SourceError
from netzoo.data.sources.layout import read_layout
from netzoo.data.sources.open import split_sizes
from tests.data.conftest import jpeg


def write(root: Path, *names: str) -> Path:
    """Write an image in each place, such as `train/daisy`, and return `root`."""
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "0.jpg").write_bytes(jpeg(0))
    return root


@pytest.mark.parametrize(
    "splits",
    [
        ("train",),
        ("train", "test"),
        ("train", "valid", "test"),
        ("Train", "Test"),
        ("Training", "Testing"),
        ("TRAIN", "Valid", "Test"),
        ("training_set", "test_set"),
        ("trainval", "test"),
        ("trainval", "eval"),
        ("trn", "dev", "tst"),
        ("val",),
        ("test",),
    ],
)
def test_split_folders(splits, tmp_path, capsys):
    """Protects the words that people use for splits, and the line that says what they are."""
    write(tmp_path, *(f"{split}/{name}" for split in splits for name in ("daisy", "roses")))
    spec = f"folder:{tmp_path}"
    assert [*split_sizes(spec)] == list(splits)
    for split in splits:
        source = open_source(spec, split)
        assert source.class_names == ("daisy", "roses")
        assert {source[i]["name"] for i in range(2)} == {
            f"{split}/daisy/0.jpg",
            f"{split}/roses/0.jpg",
        }
    [line] = capsys.readouterr().err.splitlines()
    assert "2 classes (daisy, roses)" in line
    assert all(f"{split}/ (2 images)" in line for split in splits)


def test_a_folder_of_classes(tmp_path, capsys):
    """Protects the layout without splits, whose classes may hold folders beside their images."""
    write(tmp_path, "daisy", "roses", "roses/2023", "bullet_train")
    source = open_source(f"folder:{tmp_path}", "train")
    assert source.class_names == ("bullet_train", "daisy", "roses") and len(source) == 4
    assert "4 images without split folders" in capsys.readouterr().err


def test_classes_below_a_split_may_have_any_name(tmp_path):
    """Protects the way on for classes whose names are words for splits."""
    write(tmp_path, "train/train", "train/bus", "train/valid/2022", "test/bus")
    assert read_layout(tmp_path).class_names == ("bus", "train", "valid")


def test_a_split_may_lack_classes(tmp_path):
    """Protects the labels of a test set without some of the classes: they are those of training."""
    write(tmp_path, "train/a", "train/b", "train/c", "test/c")
    source = open_source(f"folder:{tmp_path}", "test")
    assert source.class_names == ("a", "b", "c") and source[0]["label"] == 2


@pytest.mark.parametrize(
    ("names", "message"),
    [
        # One level too high.
        (("flowers/daisy", "flowers/roses"), r"daisy, roses\), give folder:.*/flowers\."),
        (("flowers/train/daisy", "flowers/train/roses"), r"give folder:.*/flowers\."),
        (("set_a/daisy", "set_a/roses", "set_b/daisy"), r"\(set_a, set_b\) hold folders"),
        (("seg_train/x/daisy", "seg_test/x/daisy"), r"give folder:.*/seg_te"),
        (("train/train/daisy", "train/train/roses"), r"Did you mean folder:.*/train/train\?"),
        # Images without labels.
        (("train", "test"), r"test, train in .* can be a class, or a split without class folders"),
        (("Train", "bus"), r"Train in .* can be a class, .* move all class folders into .*/train"),
        (("train/a", "train/b", "test"), r"/test/ holds no class folders .* folder:.*/train"),
        # Two folders for one split.
        (("train/a", "trainval/a", "test/a"), r"several folders .* train: train, trainval"),
        (("train/a", "val/a", "valid/a"), r"several folders .* validation: val, valid"),
        # Other folders beside splits.
        (("train/a", "train/b", "holdout/a"), r"splits train/ \(train\), and .*holdout/"),
        (("train/steam", "train/ice", "bus"), r"bus/ .*classes, move them all into .*/train"),
        # Other classes.
        (("train/a", "train/b", "test/a", "test/unknown"), r"test/ holds unknown, and .*a, b"),
        (("train/Daisy", "test/daisy"), r"test/ holds daisy, .* Did you mean 'Daisy'"),
        # Folders of other kinds of data sets.
        (("images", "annotations"), "holds annotations, images; expected one folder"),
        (("train/images", "train/labels"), "/train holds images, labels; expected"),
    ],
)
def test_what_is_refused(names, message, tmp_path):
    """Protects against training to the end on a wrong guess."""
    write(tmp_path, *names)
    with pytest.raises(SourceError, match=message):
        split_sizes(f"folder:{tmp_path}")
    with pytest.raises(SourceError, match=message):
        open_source(f"folder:{tmp_path}", "train")


@pytest.mark.parametrize("split", ["", "train/"])
def test_nested_classes(split, tmp_path, capsys):
    """Protects classes in groups: by option, every folder with images is a class."""
    write(tmp_path, *(split + name for name in ("pets/cat", "pets/dog", "plants/wild/daisy")))
    (tmp_path / split / "pets" / ".DS_Store").write_bytes(b"litter")
    (tmp_path / ".DS_Store").write_bytes(b"litter")
    if not split:
        with pytest.raises(SourceError, match=r"such as .*/.*, give folder:.*\?nested=yes"):
            open_source(f"folder:{tmp_path}", "train")
    spec = f"folder:{tmp_path}?nested=yes"
    source = open_source(spec, "train")
    assert source.class_names == ("pets/cat", "pets/dog", "plants/wild/daisy")
    for index in range(3):
        name = f"{split}{source.class_names[source[index]['label']]}/0.jpg"
        assert source[index]["name"] == source.names[index] == name
    assert [count() for count in split_sizes(spec).values()] == [3]
    printed = capsys.readouterr().err
    assert "3 classes (pets/cat, pets/dog, plants/wild/daisy)" in printed and "2 hidden" in printed


def test_nested_classes_have_no_images_beside_them(tmp_path):
    """Images that are not sorted into classes must not become a class."""
    write(tmp_path, "pets", "pets/cat", "pets/dog")
    with pytest.raises(SourceError, match=r"/pets/ holds images, and so does .* pets/(cat|dog)"):
        open_source(f"folder:{tmp_path}?nested=yes", "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [("nestd=yes", "the option 'nestd'.*Did you mean 'nested'"), ("nested=maybe", "yes or no")],
)
def test_unknown_options(options, message, tmp_path):
    """Protects against options that are ignored."""
    with pytest.raises(SourceError, match=message):
        open_source(f"folder:{tmp_path}?{options}", "train")


def test_a_question_mark_in_a_path(tmp_path):
    """A question mark belongs to the path unless `NAME=VALUE` follows it."""
    write(tmp_path / "why?", "a", "b")
    assert len(open_source(f"folder:{tmp_path}/why?", "train")) == 2
    assert len(open_source(f"folder:{tmp_path}/why??nested=yes", "train")) == 2


def test_grey_images_have_three_equal_channels(tmp_path):
    """Protects sets such as MNIST, whose files have one channel of 28 x 28 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "digit.png")
    source = open_source(f"folder:{tmp_path}", "train")
    [batch] = EvalBatches(source, batch_size=2, image_size=28, crop_pct=1.0)
    np.testing.assert_array_equal(
        batch["image"], np.broadcast_to(pixels[..., None], (2, 28, 28, 3))
    )


def test_an_empty_split_folder_is_refused(tmp_path):
    """Protects a test split that was not copied from being replaced by a part of training."""
    write(tmp_path, "train/a", "train/b")
    (tmp_path / "test" / "a").mkdir(parents=True)
    with pytest.raises(SourceError, match="test/ holds no class folders with images"):
        read_layout(tmp_path)


def test_one_level_too_low(tmp_path):
    """Protects a path to the images of one class."""
    write(tmp_path, "photos/daisy", "photos/roses")
    with pytest.raises(SourceError, match=r"holds images itself.* folder:.*/photos\."):
        read_layout(tmp_path / "photos" / "daisy")


def test_only_the_asked_split_is_checked(tmp_path):
    """Protects an evaluation from damaged images of the training split."""
    write(tmp_path, "train/a", "train/b", "test/a", "test/b")
    (tmp_path / "train" / "a" / "0.jpg").write_bytes(b"")
    assert len(open_source(f"folder:{tmp_path}", "test")) == 2
    with pytest.raises(ValueError, match=r"train/a/0\.jpg"):
        open_source(f"folder:{tmp_path}", "train")
