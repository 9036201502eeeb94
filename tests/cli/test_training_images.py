"""The training images of a run: `netzoo contact_sheet --config`."""

from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
import pytest
from PIL import Image

from netzoo import mesh as meshes
from netzoo.cli.contact_sheet import training_sheet
from netzoo.cli.main import main
from netzoo.cli.training_images import Seen, label_text, training_images
from netzoo.errors import UserError
from netzoo.tasks import create_resolved_task, resolve_config
from netzoo.training.step import build_train_program
from tests.conftest import narrow_mobilenet_config, slow, tiny_config, tiny_translation_config


def shown(config, steps):
    """The images, originals and labels of the first steps."""
    return [[*zip(*batch, strict=True)] for batch in training_images(config, steps)]


def test_pixels_are_those_of_the_pipeline(pictures):
    """Protects seed, order, copies, crops, policy, jitter, erasing and sizes, without mixing."""
    config = narrow_mobilenet_config(pictures)
    config.seed = 5
    config.augment.update(policy="trivialaugment", mixup=0.0, repeats=3, erasing_prob=0.5)
    config.augment.color_jitter = (0.4, 0.4, 0.4, 0.1)
    config.train.image_sizes = ((1, 40),)
    config.data.mean, config.data.std = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
    task = create_resolved_task(resolve_config(config, training=True))
    iterator = task.train_iterator()
    for _, images, labels in shown(config, 6):
        batch = next(iterator)
        np.testing.assert_array_equal(images, batch["image"])
        assert labels == tuple(f"{task.class_names[n]} 0.93" for n in batch["label"])
    assert batch["image"].shape[1] == 40, "the second epoch"


class Recorder(nn.Module):
    """A network that reports its training images."""

    see: Callable

    @nn.compact
    def __call__(self, images, train):
        if train:
            jax.debug.callback(self.see, images, ordered=True)
        return nn.Dense(3)(images.mean((1, 2)))


@pytest.mark.parametrize(("parts", "cutmix"), [(1, 0.0), slow(2, 1.0)])
def test_pixels_are_those_of_the_step(pictures, parts, cutmix):
    """Protects the key of the mixing, and the parts of gradient accumulation.

    The compiled step rounds in another order, so a pixel may differ by one level.
    """
    config = tiny_config(pictures)
    config.augment.update(mixup=0.8, cutmix=cutmix, mixup_prob=0.9)
    config.train.grad_accum_steps = parts
    resolved, seen = resolve_config(config, training=True), []
    task = create_resolved_task(resolved)
    task.model = Recorder(seen.append)
    mesh = meshes.create_mesh(1, jax.devices()[:1])
    program = build_train_program(resolved, task, mesh)
    state, iterator = program.init(None), task.train_iterator()
    for _ in range(3):
        state, _ = program.step(state, next(iterator))
    jax.effects_barrier()
    assert len(seen) == 3 * parts
    for step, (_, images, _) in enumerate(shown(config, 3)):
        fed = np.stack(seen[step * parts : (step + 1) * parts], 1).reshape(8, 32, 32, 3)
        np.testing.assert_allclose(images, fed * 127.5 + 127.5, atol=0.51)


@pytest.fixture
def plain(tmp_path):
    """Four images of one colour each: red in the class a, 10 to 40, and green in b, 50 to 80."""
    for number, (name, channel) in enumerate(zip("aabb", (0, 0, 1, 1), strict=True)):
        pixels = np.zeros((20, 30, 3), np.uint8)
        pixels[..., channel] = 200
        pixels[..., 2] = 10 * number
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    return tmp_path


def plain_config(folder):
    """One batch of all images, which crops and flips do not change."""
    config = tiny_config(folder)
    config.data.train_split, config.data.validation_split, config.data.test_split = (
        "all",
        None,
        None,
    )
    config.train.batch_size = 4
    config.train.label_smoothing = 0.0
    config.augment.update(randaugment_layers=0, mixup=0.0)
    return config


def test_originals_belong_to_their_images(plain):
    """Protects the pairs, also where another image replaces a corrupt one."""
    (plain / "b" / "3.png").write_bytes(b"no image")
    config = plain_config(plain)
    config.data.on_corrupt = "skip"
    [(originals, images, labels)] = shown(config, 1)
    assert sorted(x[0, 0, 2] for x in originals)[0] == 0 and len(originals) == 4
    for original, image, label in zip(originals, images, labels, strict=True):
        assert original.shape == (20, 30, 3)
        np.testing.assert_array_equal(original[0, 0], image[0, 0])
        assert label == ("a" if original[0, 0, 0] else "b")


def test_labels_are_mixed_like_the_pixels(plain):
    """Protects the label: its share of the class a is the share of red."""
    config = plain_config(plain)
    config.augment.mixup = 1.0
    config.seed = 3
    mixed = 0
    for _, images, labels in shown(config, 3):
        for image, label in zip(images, labels, strict=True):
            share = {part[0]: float(part[2:] or 1) for part in label.split(" + ")}
            assert abs(share.get("a", 0) - image[0, 0, 0] / 200) < 0.01
            assert abs(share.get("b", 0) - image[0, 0, 1] / 200) < 0.01
            mixed += len(share) == 2
    assert mixed


def test_label_text():
    """Protects the order, the rounding, and the classes that only smoothing has touched."""
    names = ("roses", "tulips", "daisy", "poppy")
    assert label_text(np.array([0.3, 0.7, 0, 0]), names, 0.0) == "tulips 0.7 + roses 0.3"
    assert label_text(np.array([0.998, 0.002, 0, 0]), names, 0.0) == "roses"
    smoothed = 0.9 * np.array([0.5, 0, 0.5, 0]) + 0.11 / 4
    assert label_text(smoothed, names, 0.11) == "roses 0.48 + daisy 0.48"


def test_layout():
    """Protects the pixels of training images, the room for labels, and the shape of originals."""
    image = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
    tall = np.zeros((40, 20, 3), np.uint8)
    sheet = training_sheet([[Seen(tall, image, "roses 0.7 + tulips 0.3")] * 5] * 2, 2, 2)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, image.shape)[:, :, 0]
    assert (windows == image).all((2, 3, 4)).sum() == 8, "two batches of four"
    assert sheet.shape[0] == 4 * 42 + 2 and sheet.shape[1] > 2 * 140
    blank, black = sheet[2:22, 55:].min(-1) == 255, sheet[2:22, 55:].max(-1) == 0
    assert blank[:, :100].all(1).sum() == 0 and black.sum() == 2 * 200


def test_command(pictures, tmp_path, capsys):
    """Protects the command as documented, and its errors."""
    file, out = tmp_path / "tiny.py", tmp_path / "seen.png"
    file.write_text(
        "from tests.conftest import tiny_config\n"
        f"def get_config(): return tiny_config({str(pictures)!r})\n"
    )
    command = ["contact_sheet", "--config", str(file), "--out", str(out)]
    options = ["--batches", "2", "--columns", "3", "--config.augment.mixup=0"]
    assert main([*command, *options]) == 0
    assert Image.open(out).mode == "RGB" and Image.open(out).height == 2 * 54 + 2
    for wrong, message in (
        (["synthetic_flowers"], "expected either a source of images or --config, got both"),
        (["--tile-size", "9"], "--tile-size is only for a source of images; omit it"),
        (["--batches", "0"], "--batches is 0; it must be at least 1"),
        (["--config.augment.mixup=-1"], "augment.mixup"),
    ):
        assert main([*command, *wrong]) == 1
        assert message in capsys.readouterr().err
    for wrong, message in (
        ([], "got neither"),
        (["synthetic_flowers", "--batches", "2"], "--batches is only for --config; omit it"),
        (["synthetic_flowers", "--config.seed=1"], "--config.seed changes a configuration; add"),
    ):
        assert main(["contact_sheet", "--out", str(out), *wrong]) == 1
        assert message in capsys.readouterr().err


def test_translation_is_refused():
    """Protects against a traceback: its examples are sentences."""
    with pytest.raises(UserError, match="translation trains on no images"):
        training_images(tiny_translation_config(), 1)
