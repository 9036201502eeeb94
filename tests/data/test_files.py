"""Which files are images: one decision by name, for training, prediction and preparing."""

import shutil
from pathlib import PurePath

import pytest

from netzoo.cli.prepare import prepare
from netzoo.data import ImageError, open_source
from netzoo.data.decode import decode_image
from netzoo.data.files import images_below, is_image, left_out

LITTER = ("._0.jpg", "__MACOSX/0.jpg", ".ipynb_checkpoints/0.jpg", "Thumbs.db", "@eaDir/0.jpg")


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.JPG", "a.jfif", "a.avif", "a.jp2", "a.ppm", "a.HEIC", "b/c.d/a.tiff"]
)
def test_images_by_name(name):
    """Protects all formats that can be decoded, and those whose error says that they cannot."""
    assert is_image(PurePath(name))


@pytest.mark.parametrize("name", [*LITTER, "a.txt", "jpg", ".jpg", "a.jpg.part", "a"])
def test_other_files_by_name(name):
    """Protects against files of file managers, which have the extensions of images."""
    assert not is_image(PurePath(name))


@pytest.fixture
def littered(flowers):
    """The flowers with litter and a text in the folder of roses."""
    for name in (*LITTER, "notes.txt", "README"):
        path = flowers / "roses" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"litter")
    (flowers / "roses" / "more").symlink_to(flowers / "daisy", target_is_directory=True)
    (flowers / "__MACOSX" / "roses").mkdir(parents=True)
    shutil.copytree(flowers / "daisy", flowers / ".ipynb_checkpoints")
    return flowers


def test_what_is_left_out_is_counted(littered, capsys):
    """The source, and its one line however often it is opened."""
    for split in ("train[:50%]", "train[50%:]"):
        assert len(open_source(f"folder:{littered}", split)) == 10
    line = "ignored other files: 5 hidden, 1 .txt, 1 links to folders, 1 without extension"
    assert left_out(images_below(littered / "roses")[1]) == line
    # Beside the classes lie a licence, and four images in a hidden folder.
    line = "ignored other files: 9 hidden, 2 .txt, 1 links to folders, 1 without extension"
    printed = capsys.readouterr().err
    assert printed.count("ignored other files") == 1 and f"{line}\n" in printed


def test_a_class_of_other_files_says_which(flowers):
    """Protects against files without extension that are left out without a word."""
    for path in (flowers / "roses").iterdir():
        path.rename(path.with_suffix(""))
    with pytest.raises(ValueError, match=r"roses holds no images \(.*4 without extension\)"):
        open_source(f"folder:{flowers}", "train")


def test_preparing_takes_the_same_images(littered, tmp_path):
    """Protects `netzoo prepare --from FOLDER` from the litter of another computer."""
    builder = prepare("tf_flowers", str(littered), str(tmp_path / "data"))
    assert builder.info.splits["train"].num_examples == 20


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.heic", b"", "does not read this format; convert it to JPEG"),
        ("a.NEF", b"II*\0", "does not read this format; convert it to JPEG"),
        ("a.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIF"),
        ("a.png", b"\n<!DOCTYPE html><html>404</html>", "it is a web page"),
        ("a.png", b'<?xml version="1.0"?>\n<svg/>', "it is SVG"),
        ("a.jpg", b"\xff\x0a\xfa\x7f", "it is JPEG XL"),
        ("a.jpg", b"\0\0\0\x18ftypisom", "it is a video"),
    ],
)
def test_formats_that_cannot_be_decoded_are_named(name, data, reason, flowers):
    """Protects owners of telephones, whose HEIF files often have the name of a JPEG."""
    with pytest.raises(ImageError, match=f"{name}.* {reason}"):
        decode_image(data, name)
    (flowers / "roses" / name).write_bytes(data)
    with pytest.raises(ImageError, match=rf"roses/{name}.* {reason}.*data\.on_corrupt=skip"):
        open_source(f"folder:{flowers}", "train")
