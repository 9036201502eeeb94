"""Corrupt examples in training and evaluation stop the run or are skipped."""

import cv2
import numpy as np
import pytest
from PIL import Image

from netzoo.cli.check import main as check
from netzoo.data import (
    CachedSource,
    EvalBatches,
    ImageError,
    SkipCorrupt,
    TrainBatches,
    open_source,
    transforms,
    with_cache,
)
from netzoo.data.source import SourceError
from netzoo.errors import UserError
from tests.data.conftest import jpeg, write_classes
from tests.data.test_images import PLAIN, digest, identities, make, take


@pytest.fixture
def broken(memory_source):
    """Make a `memory_source` with some truncated examples."""

    def of(length, *bad):
        class Broken(memory_source):
            def __getitem__(self, index):
                example = super().__getitem__(index)
                return {**example, "image": example["image"][:-30]} if index in bad else example

        return Broken(length)

    return of


def test_stops_and_says_how_to_go_on(broken):
    """By default, a corrupt example is an error."""
    with pytest.raises(ImageError, match=r"Cannot decode memory 3 .*data\.on_corrupt=skip"):
        take(make(broken(8, 3)), 2)
    with pytest.raises(ImageError, match=r"Cannot decode memory 3 .*data\.on_corrupt=skip"):
        list(EvalBatches(broken(8, 3), batch_size=4, image_size=8))


def test_training_takes_the_next_readable_one(broken, memory_source, capsys):
    """Shapes, order and labels do not change; two adjacent and the last example are replaced."""
    skip = SkipCorrupt()
    settings = {"augmentation": PLAIN, "batch_size": 5}
    batches = take(make(broken(10, 3, 4, 9), skip_corrupt=skip, **settings), 6)
    seen, sound = identities(batches), identities(take(make(memory_source(10), **settings), 6))
    instead = {3: 5, 4: 5, 9: 0}
    np.testing.assert_array_equal(seen, [instead.get(index, index) for index in sound])
    np.testing.assert_array_equal(np.concatenate([b["label"] for b in batches]), seen % 2)
    assert len(skip) == 3
    said = capsys.readouterr().err
    assert said.count("memory 9") == 1, "three epochs, one warning"
    assert "(3 so far)" in said


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize("mode", ["none", "encoded", "decoded"])
def test_skipping_is_decided_by_the_seed(broken, threads, mode):
    """Threads, the cache and a restart do not change the replacements."""
    settings = {"skip_corrupt": SkipCorrupt(), "batch_size": 4}
    whole = digest(take(make(broken(9, 2, 7), **settings), 8))
    settings["num_threads"] = threads
    iterator = iter(make(with_cache(broken(9, 2, 7), mode), **settings))
    first = [next(iterator) for _ in range(3)]
    other = iter(make(with_cache(broken(9, 2, 7), mode), **settings))
    other.set_state(iterator.get_state())
    assert digest(first + [next(other) for _ in range(5)]) == whole


def test_processes_replace_alike(broken):
    """The rows of all processes equal the batch of a single process."""
    settings = {"skip_corrupt": SkipCorrupt(), "batch_size": 4}
    whole = take(make(broken(9, 2, 3), **settings), 4)
    parts = [take(make(broken(9, 2, 3), shard=(i, 2), **settings), 4) for i in range(2)]
    for batch, *rows in zip(whole, *parts, strict=True):
        joined = np.concatenate([part["image"] for part in rows])
        np.testing.assert_array_equal(batch["image"], joined)


def test_evaluation_masks_them(broken, capsys):
    """The metric covers readable examples, each exactly once."""
    skip = SkipCorrupt()
    batches = list(
        EvalBatches(broken(6, 0, 4), batch_size=4, image_size=8, skip_corrupt=skip, num_threads=1)
    )
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert mask.tolist() == [False, True, True, True, False, True, False, False]
    assert not batches[0]["image"][0].any() and len(skip) == 2
    assert "memory 4" in capsys.readouterr().err


def test_all_corrupt_is_an_error(broken):
    """The search for a readable example ends."""
    with pytest.raises(SourceError, match="No example of memory can be read"):
        take(make(broken(5, *range(5)), batch_size=2, skip_corrupt=SkipCorrupt()), 1)


def test_a_file_that_vanishes(flowers):
    """A file that disappears during reading is reported or replaced."""
    source = open_source(f"folder:{flowers}", "train")
    (flowers / source[2]["name"]).unlink()
    with pytest.raises(ImageError, match=rf"Cannot read {source.names[2]}: No such file"):
        take(make(source), 5)
    skip = SkipCorrupt()
    assert len(take(make(source, skip_corrupt=skip), 5)) == 5 and len(skip) == 1


def test_a_record_that_is_no_image(flowers, tmp_path):
    """TFDS data sets behave like folders."""
    from netzoo.cli.prepare import prepare

    (flowers / "roses" / "half.jpg").write_bytes(jpeg(99)[:-200])
    prepare("tf_flowers", str(flowers), str(tmp_path / "tfds"))
    source = open_source("tfds:tf_flowers", "train", str(tmp_path / "tfds"))
    settings = {"batch_size": 7, "image_size": 8}
    with pytest.raises(ImageError, match=r"Cannot decode tf_flowers train example \d+"):
        list(EvalBatches(source, **settings))
    batches = EvalBatches(source, skip_corrupt=SkipCorrupt(), **settings)
    assert sum(batch["mask"].sum() for batch in batches) == 20
    settings |= {"seed": 0, "augmentation": PLAIN}
    assert len(take(TrainBatches(source, skip_corrupt=SkipCorrupt(), **settings), 6)) == 6


def test_a_worker_that_fails_names_the_file(memory_source, monkeypatch):
    """A bug in a transform keeps its traceback, with a note of the file name."""

    def fail(*args):
        raise ZeroDivisionError

    monkeypatch.setattr("netzoo.data.images.resize_fast", fail)
    with pytest.raises(ZeroDivisionError) as caught:
        take(make(memory_source(8), skip_corrupt=SkipCorrupt()), 1)
    assert any("memory" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("error", [cv2.error("OpenCV: (-215)\n"), MemoryError()])
def test_an_image_that_opencv_cannot_transform(memory_source, monkeypatch, error):
    """An error of OpenCV belongs to the image, which `skip` leaves out."""
    resize = cv2.resize

    def fail_at_3(image, *args, **options):
        if image[0, 0, 0] == 3:
            raise error
        return resize(image, *args, **options)

    monkeypatch.setattr(transforms.cv2, "resize", fail_at_3)
    training = {"augmentation": PLAIN, "image_size": 32}  # enlarges
    evaluation = {"batch_size": 4, "image_size": 32}
    with pytest.raises(ImageError, match=r"Cannot transform memory 3: .*data\.on_corrupt=skip"):
        take(make(memory_source(8), **training), 2)
    with pytest.raises(ImageError, match="Cannot transform memory 3"):
        list(EvalBatches(memory_source(8), **evaluation))
    skip = SkipCorrupt()
    seen = identities(take(make(memory_source(8), skip_corrupt=skip, **training), 2))
    assert sorted(seen) == [0, 1, 2, 4, 4, 5, 6, 7] and len(skip) == 1
    batches = list(EvalBatches(memory_source(8), skip_corrupt=skip, **evaluation))
    assert sum(batch["mask"].sum() for batch in batches) == 7


def test_a_file_of_eight_million_pixels_in_a_row(tmp_path):
    """Protects evaluation and training from 23 kB whose enlarged image has 10^12 pixels."""
    write_classes(tmp_path, ("daisy", "roses"), 2)
    Image.new("L", (8_000_000, 1), 255).save(tmp_path / "daisy" / "row.png")
    assert (tmp_path / "daisy" / "row.png").stat().st_size < 100_000
    source = open_source(f"folder:{tmp_path}", "train")
    [batch] = EvalBatches(source, batch_size=5, image_size=224)
    assert batch["mask"].all() and (batch["image"] == 255).all((1, 2, 3)).sum() == 1
    assert len(take(make(source, image_size=224, batch_size=5), 1)) == 1


def test_a_cache_does_not_remember_a_failure(flowers):
    """A restored file is read again."""
    source = CachedSource(open_source(f"folder:{flowers}", "train"), "decoded")
    path = flowers / source._source.names[0]
    content = path.read_bytes()
    path.write_bytes(content[:-200])
    with pytest.raises(ImageError):
        source[0]
    path.write_bytes(content)
    assert source[0]["image"].shape == (20, 28, 3)


def test_the_check_decodes_everything(flowers, capsys):
    """`netzoo check` lists every corrupt file."""
    command = [f"folder:{flowers}", "--exact", "--strict", "--splits", "all"]
    assert check(command) == 0
    assert "0 of 20 images" in capsys.readouterr().out
    (flowers / "roses" / "half.jpg").write_bytes(jpeg(99)[:-200])
    (flowers / "tulips" / "page.jpg").write_bytes(b"<html>")
    assert check(command) == 1
    said = capsys.readouterr().out
    with pytest.raises(UserError, match="--threads 0"):
        check([f"folder:{flowers}", "--threads", "0"])
    assert "roses/half.jpg" in said and "tulips/page.jpg" in said and "2 of 22 images" in said


def test_the_check_covers_every_split(tmp_path, capsys):
    """`netzoo check` reports the number of each split, and `--splits` chooses some."""
    for count, split in enumerate(("train", "val", "Testing"), start=1):
        write_classes(tmp_path / split, ("daisy", "roses"), count)
    (tmp_path / "Testing" / "roses" / "half.jpg").write_bytes(jpeg(99)[:-200])
    assert check([f"folder:{tmp_path}", "--exact", "--strict"]) == 1
    said = capsys.readouterr().out
    for count in ("0 of 2", "0 of 4", "1 of 7"):
        assert f"{count} images of folder:{tmp_path} " in said
    assert "Testing/roses/half.jpg" in said
    check([f"folder:{tmp_path}", "--exact", "--splits", "val"])
    said = capsys.readouterr().out
    assert f"0 of 4 images of folder:{tmp_path} val are corrupt" in said and "Testing" not in said
