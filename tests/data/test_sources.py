"""Sources: opening, contents, and errors with advice."""

import collections
import errno
import json
import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from netzoo.cli.prepare import prepare
from netzoo.config.modules import import_modules
from netzoo.data import DatasetNotFoundError, EvalBatches, ImageError, Source, open_source
from netzoo.data.examine import examine
from netzoo.data.source import SourceError
from netzoo.data.sources import tfds
from netzoo.data.sources.open import SOURCES, split_sizes
from netzoo.data.splits import default_splits, resolve_split
from netzoo.errors import UserError

FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
MY_DIGITS = """
from pathlib import Path
import netzoo
import tensorflow_datasets as tfds

class MyDigits(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(None, None, 1), encoding_format="png")
        label = tfds.features.ClassLabel(names=["even", "odd"])
        features = tfds.features.FeaturesDict({{"image": image, "label": label}})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {{"train": self._generate_examples()}}

    def _generate_examples(self):
        for number in range(4):
            path = Path("{folder}") / f"{{number}}.png"
            yield number, {{"image": path, "label": number % 2}}
"""
TFDS_ORDER = ("dandelion", "daisy", "tulips", "sunflowers", "roses")


def names(source):
    return [source[index]["name"] for index in range(len(source))]


@pytest.fixture
def split_folder(flowers, tmp_path):
    """A folder with train/ and, with fewer images, test/ and val/."""
    root = tmp_path / "split"
    for split, kept in [("train", 4), ("test", 2), ("val", 1)]:
        for class_name in FLOWERS:
            (root / split / class_name).mkdir(parents=True)
            for path in sorted((flowers / class_name).iterdir())[:kept]:
                shutil.copy(path, root / split / class_name)
    return root


def test_folder_holds_every_image_with_its_label(flowers):
    """Labels follow the alphabetical class names, whatever the file order."""
    source = open_source(f"folder:{flowers}", "train")
    assert isinstance(source, Source)
    assert source.class_names == FLOWERS and len(source) == 20
    for index in range(20):
        example = source[index]
        assert FLOWERS[example["label"]] == example["name"].split("/")[0]
        assert example["image"] == (flowers / example["name"]).read_bytes()


def test_folder_slices_are_disjoint_and_mixed(flowers):
    """`train[:80%]` and `train[80%:]` divide the folder, and each has several classes."""
    parts = [names(open_source(f"folder:{flowers}", s)) for s in ("train[:60%]", "train[60%:]")]
    assert [len(part) for part in parts] == [12, 8]
    assert parts[0] + parts[1] == names(open_source(f"folder:{flowers}", "all"))
    for part in parts:
        assert len({name.split("/")[0] for name in part}) >= 3


def test_folder_order_ignores_where_it_lies(flowers, tmp_path):
    """A copy has the same splits, for any order of the file system."""
    copy = shutil.copytree(flowers, tmp_path / "elsewhere")
    assert names(open_source(f"folder:{flowers}", "train")) == names(
        open_source(f"folder:{copy}", "all[:100%]")
    )


def test_folder_order_survives_an_added_file(flowers):
    """Adding a file does not reorder the others."""
    before = names(open_source(f"folder:{flowers}", "train"))
    shutil.copy(flowers / before[0], flowers / "roses" / "new.jpg")
    after = names(open_source(f"folder:{flowers}", "train"))
    assert [name for name in after if name != "roses/new.jpg"] == before


def test_folder_with_splits(split_folder):
    """Sub-folders train/, test/ and val/ are the splits, sliced and joined as in TFDS."""
    spec = f"folder:{split_folder}"
    lengths = {s: len(open_source(spec, s)) for s in ("train", "test", "val", "validation", "all")}
    assert lengths == {"train": 20, "test": 10, "val": 5, "validation": 5, "all": 35}
    joined = open_source(spec, "train[:50%] + test[:2]")
    assert len(joined) == 12 and joined.class_names == FLOWERS
    for index in range(12):
        assert FLOWERS[joined[index]["label"]] == joined[index]["name"].split("/")[1]


def test_folder_ignores_hidden_files(flowers):
    """Files of file managers are neither images nor classes."""
    (flowers / "roses" / ".DS_Store").write_bytes(b"litter")
    (flowers / "roses" / "Thumbs.db").write_bytes(b"litter")
    (flowers / ".cache").mkdir()
    (flowers / ".cache" / "x.jpg").write_bytes(b"litter")
    source = open_source(f"folder:{flowers}", "train")
    assert len(source) == 20 and source.class_names == FLOWERS


def test_folder_with_a_bad_file_names_it(flowers):
    """A corrupt file is detected when the source is opened."""
    (flowers / "tulips" / "bad.jpg").write_bytes(b"<html>404</html>")
    with pytest.raises(ImageError, match=r"tulips/bad\.jpg.*data\.on_corrupt=skip"):
        open_source(f"folder:{flowers}", "train[:10%]")


def test_skipping_corrupt_files_keeps_their_places(flowers, capsys):
    """A corrupt file does not change the order of a continued run."""
    before = names(open_source(f"folder:{flowers}", "train"))
    (flowers / before[3]).write_bytes(b"<html>404</html>")
    source = open_source(f"folder:{flowers}", "train", skip_corrupt=True)
    warning = capsys.readouterr().err
    assert "1 of 20 files" in warning and before[3] in warning
    assert names(source) == before


def test_what_is_no_file_is_named(flowers):
    """Dangling links and FIFOs are reported and do not block."""
    for name, make in {
        "nowhere.jpg": lambda path: path.symlink_to("missing.jpg"),
        "circle.jpg": lambda path: path.symlink_to(path.name),
        "fifo.jpg": os.mkfifo,
        "device.jpg": lambda path: path.symlink_to("/dev/zero"),
    }.items():
        path = flowers / "roses" / name
        make(path)
        with pytest.raises(ImageError, match=rf"Cannot read roses/{name}"):
            open_source(f"folder:{flowers}", "train")
        path.unlink()


def test_a_file_that_is_too_large_is_not_read(flowers, monkeypatch):
    """The size of a file is limited, because a sparse file can declare any size."""
    source = open_source(f"folder:{flowers}", "train")
    name = source[0]["name"]
    with (flowers / name).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ImageError, match=rf"{name}: it has 1,099,511,627,776 bytes"):
        source[0]


def test_a_failing_disk_is_no_corrupt_file(flowers, monkeypatch):
    """Errors of a broken mount are not skipped."""
    source = open_source(f"folder:{flowers}", "train")

    def fail(*args, **options):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(UserError, match="Input/output error") as caught:
        source[0]
    assert not isinstance(caught.value, ImageError)


def test_names_that_are_no_text(flowers):
    """File names may be any bytes, but class names must be text."""
    odd = os.fsdecode(b"\xff.jpg")
    shutil.copy(next((flowers / "roses").iterdir()), flowers / "roses" / odd)
    assert f"roses/{odd}" in names(open_source(f"folder:{flowers}", "train"))
    shutil.copytree(flowers / "roses", flowers / odd)
    with pytest.raises(SourceError, match=r"class folder \\udcff\.jpg"):
        open_source(f"folder:{flowers}", "train")


def test_a_class_that_leads_back_is_refused(flowers):
    """A link to the folder itself is an error, because images would occur twice."""
    (flowers / "loop").symlink_to("..")
    with pytest.raises(SourceError, match="loop links back to"):
        open_source(f"folder:{flowers}", "train")


def test_folder_errors(flowers, tmp_path):
    """Each invalid folder has an error with the expected layout."""
    with pytest.raises(SourceError, match="is not a folder"):
        open_source(f"folder:{tmp_path / 'missing'}", "train")
    with pytest.raises(SourceError, match="no class folders"):
        open_source(f"folder:{flowers / 'roses'}", "train")
    (flowers / "violets").mkdir()
    with pytest.raises(SourceError, match="violets holds no images"):
        open_source(f"folder:{flowers}", "train")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("tain", "Did you mean 'train'"),
        ("test", r"Available: 'train' \(20 examples\)"),
        ("train[:80", r"train\[:80%\]"),
        ("train[:80%]+x", "Unknown split 'x'"),
        ("train[:0]", "no examples"),
        ("train[:500%]", "100"),
    ],
)
def test_wrong_split_lists_the_right_ones(flowers, split, message):
    """The error for an unknown split lists the splits and the syntax of slices."""
    with pytest.raises(SourceError, match=message):
        open_source(f"folder:{flowers}", split)


def test_percentages_round_as_in_tfds():
    """A folder of 3,670 images has the same slice bounds as tf_flowers."""
    parts = resolve_split("train[:80%]+train[90%:]", {"train": 3670})
    assert parts == [("train", range(2936)), ("train", range(3303, 3670))]


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("tf_flowers", "Did you mean 'tfds:tf_flowers'"),
        ("synthetic_flower", "Did you mean 'synthetic_flowers'"),
        ("tfds:tf_flower", "Did you mean 'tf_flowers'"),
        ("folder:", "folder:PATH"),
    ],
)
def test_unknown_source_names_the_nearest(spec, hint, tmp_path):
    """The error for an unknown source lists the valid forms."""
    with pytest.raises(SourceError, match=hint):
        open_source(spec, "train", data_dir=str(tmp_path))


def test_a_source_of_a_user(memory_source, monkeypatch):
    """Protects sources of users' modules: one word opens them, and says that it has no splits."""
    monkeypatch.setitem(SOURCES, "memory", lambda place, split: memory_source(int(place)))
    assert len(open_source("memory:5", "train")) == 5
    with pytest.raises(SourceError, match=r"set data\.train_split"):
        default_splits(split_sizes("memory:5"))


def test_a_path_without_its_prefix_is_recognised(flowers):
    """The most likely mistake has its own hint."""
    with pytest.raises(SourceError, match="Did you mean 'folder:"):
        open_source(str(flowers), "train")


def test_tfds_source(flowers, tmp_path):
    """A prepared set gives encoded files, TFDS's label order and any TFDS split."""
    data_dir = str(tmp_path / "tfds")
    prepare("tf_flowers", str(flowers), data_dir)
    source = open_source("tfds:tf_flowers", "train", data_dir)
    assert source.class_names == TFDS_ORDER and len(source) == 20
    assert collections.Counter(source[i]["label"] for i in range(20)) == dict.fromkeys(range(5), 4)
    files = {path.read_bytes(): path.parent.name for path in flowers.rglob("*.jpg")}
    for index in range(20):
        assert TFDS_ORDER[source[index]["label"]] == files.pop(source[index]["image"])
    assert len(open_source("tfds:tf_flowers", "train[75%:]", data_dir)) == 5
    with pytest.raises(SourceError, match="Available: 'train'"):
        open_source("tfds:tf_flowers", "test", data_dir)
    # A damaged record file gives an error with the example.
    [shard] = (tmp_path / "tfds").rglob("*array_record*")
    content = shard.read_bytes()
    shard.write_bytes(content[:64] + bytes(len(content) - 128) + content[-64:])
    source = open_source("tfds:tf_flowers", "train", data_dir)
    with pytest.raises(ImageError, match=r"tf_flowers train example 3: .* damaged"):
        source[3]
    shard.unlink()
    with pytest.raises(SourceError, match=r"example 3: open\(\) failed: No such file"):
        open_source("tfds:tf_flowers", "train", data_dir)[3]
    [info] = (tmp_path / "tfds").rglob("dataset_info.json")
    info.write_text(info.read_text()[:100])
    with pytest.raises(SourceError, match="Cannot open the TFDS data set 'tf_flowers'"):
        open_source("tfds:tf_flowers", "train", data_dir)


@pytest.mark.parametrize(
    "features",
    [
        {"pythonClassName": "netzoo_planted.Feature"},
        {"type": "netzoo_planted.Feature", "content": {}},
        {
            "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
            "featuresDict": {"features": {"image": {"pythonClassName": "netzoo_planted.Feature"}}},
        },
    ],
)
def test_a_prepared_data_set_imports_nothing(features, tmp_path, monkeypatch):
    """Opening a data set imports no modules named in its files."""
    folder = tmp_path / "data" / "planted" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "features.json").write_text(json.dumps(features))
    info = {"name": "planted", "version": "1.0.0", "fileFormat": "array_record"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "netzoo_planted.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SourceError, match=r"netzoo_planted\.Feature"):
        open_source("tfds:planted", "train", str(tmp_path / "data"))


def test_tfds_data_sets_of_communities_are_refused(tmp_path):
    """Community data sets, whose code TFDS would download, are rejected."""
    with pytest.raises(SourceError, match="NAME"):
        open_source("tfds:someone:flowers", "train", str(tmp_path))


def test_tfds_in_another_format_says_how_to_prepare_it(flowers, tmp_path):
    """A folder in a format without random access is an error and is not overwritten."""
    data_dir = tmp_path / "tfds"
    builder = prepare("tf_flowers", str(flowers), str(data_dir))
    info_path = os.path.join(builder.data_dir, "dataset_info.json")
    with open(info_path) as file:
        info = json.load(file)
    with open(info_path, "w") as file:
        json.dump({**info, "fileFormat": "riegeli"}, file)
    with pytest.raises(SourceError, match=r"as riegeli.*netzoo prepare tf_flowers.*tfds convert_f"):
        open_source("tfds:tf_flowers", "train", str(data_dir))


def test_a_builder_of_a_user(tmp_path, monkeypatch):
    """A class of a user's module is a TFDS data set; here, its images are grey as MNIST's."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "my_digits.py").write_text(MY_DIGITS.format(folder=tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    import_modules(("my_digits",))
    for _ in range(2):  # prepares, then opens
        source = open_source("tfds:my_digits", "train", str(tmp_path / "tfds"))
        assert source.class_names == ("even", "odd") and len(source) == 4
    [batch] = EvalBatches(source, batch_size=4, image_size=28, crop_pct=1.0)
    found = {int(n): image for n, image in zip(batch["label"], batch["image"], strict=True)}
    for label, image in found.items():
        expected = [np.broadcast_to(p[..., None], (28, 28, 3)) for p in pixels[label::2]]
        assert any((image == other).all() for other in expected)
    assert split_sizes("tfds:my_digits", str(tmp_path / "tfds"))["train"]() == 4


def test_without_network_the_ways_on_are_named(tmp_path, monkeypatch):
    """Without a network, the error comes fast, lists three commands and leaves no files."""
    monkeypatch.setattr(tfds, "_unreachable", lambda url: f"{url}: no route")
    start = time.monotonic()
    with pytest.raises(DatasetNotFoundError) as caught:
        open_source("tfds:tf_flowers", "train", str(tmp_path / "tfds"))
    assert time.monotonic() - start < 10
    for way in (
        f"netzoo prepare tf_flowers --data-dir {tmp_path}/tfds\n",
        f"netzoo prepare tf_flowers --from flower_photos.tgz --data-dir {tmp_path}/tfds\n",
        "--config.data.source=folder:PATH",
        "synthetic_flowers or number_words",
    ):
        assert way in str(caught.value)
    assert not (tmp_path / "tfds").exists()


def test_the_ways_on_name_tensorflow_and_the_configuration(tmp_path, monkeypatch):
    """TFDS prepares CIFAR-10 with TensorFlow, and a data set may have configurations."""
    monkeypatch.setattr(tfds, "_unreachable", lambda url: f"{url}: no route")
    monkeypatch.setattr(tfds.tfds.core.constants, "DATA_DIR", str(tmp_path))
    with pytest.raises(DatasetNotFoundError, match=r"and TensorFlow.*\n.*prepare cifar10\n"):
        open_source("tfds:cifar10", "train", str(tmp_path))
    with pytest.raises(DatasetNotFoundError, match=r"connection, run:\n.*imagenet_resized/8x8\n"):
        open_source("tfds:imagenet_resized/8x8", "train", str(tmp_path))


def test_a_server_that_does_not_answer_is_given_up(monkeypatch):
    """A blocked name look-up has a time limit."""
    monkeypatch.setattr(tfds, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr(
        tfds.urllib.request, "urlopen", lambda *a, **k: tfds.threading.Event().wait()
    )
    assert "no answer" in tfds._unreachable("http://example.invalid/x.tgz")


@pytest.mark.real_data
def test_real_flowers():
    """The published photographs: counts, decodability, and the cut of the TFDS splits."""
    folder = os.environ.get("NETZOO_FLOWER_PHOTOS")
    if not folder:
        pytest.skip("NETZOO_FLOWER_PHOTOS does not name the folder of photographs")
    source = open_source(f"folder:{folder}", "train", skip_corrupt=True)
    assert len(source) == 3670 and source.class_names == FLOWERS
    assert not [image for image in examine(source, hashing=False) if image.problem]
    assert len(open_source(f"folder:{folder}", "train[:80%]")) == 2936
    batches = EvalBatches(source, batch_size=128, image_size=32)
    assert sum(batch["mask"].sum() for batch in batches) == 3670
