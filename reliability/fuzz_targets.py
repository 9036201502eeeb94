"""The targets of `reliability.fuzz`, each with its valid inputs."""

import io
import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import h5py
import numpy as np
from PIL import Image
from safetensors.numpy import save

from netzoo.config import default_config, load_config, save_config
from netzoo.config.overrides import override, read_config, split_overrides
from netzoo.data.decode import LazyImage, check_header, decode_image
from netzoo.tasks import resolve_config
from netzoo.tasks.translation.number_words import number_pairs
from netzoo.tasks.translation.vocabulary import Vocabulary
from netzoo.weights.class_names import load_class_names
from netzoo.weights.formats.read import read_weights
from reliability.hostile_images import encoded, picture

Random = np.random.Generator
Seeds = dict[str, bytes]


class Target(NamedTuple):
    """Code that reads input from strangers.

    Attributes:
      seeds: Returns valid inputs by name; it may write into the given folder.
      call: Reads an input, given its name, its bytes and the folder; the result is ignored.
      growth_mb: Resident memory in MiB that one input may add.
      make: Generates an input; if None, the seeds are mutated.
    """

    seeds: Callable[[Path], Seeds]
    call: Callable[[str, bytes, Path], Any]
    growth_mb: int = 700
    make: Callable[[Random], bytes] | None = None


def _images(folder: Path) -> Seeds:
    image = picture(40, 56)
    samples = np.asarray(image).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    frames = {"save_all": True, "append_images": [picture(40, 56, seed=1)]}
    return {
        "a.jpg": encoded(image, "JPEG"),
        "420.jpg": encoded(image, "JPEG", subsampling=2, restart_marker_blocks=3),
        "grey.jpg": encoded(image.convert("L"), "JPEG"),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "exif.jpg": encoded(image, "JPEG", exif=exif),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "a.png": encoded(image, "PNG"),
        "palette.png": encoded(palette, "PNG", transparency=3),
        "alpha.png": encoded(image.convert("RGBA"), "PNG"),
        "16.png": cv2.imencode(".png", samples)[1].tobytes(),
        "apng.png": encoded(image, "PNG", **frames),
        "a.gif": encoded(image, "GIF", **frames),
        "a.webp": encoded(image, "WEBP"),
        "lossless.webp": encoded(image, "WEBP", lossless=True),
        "a.tiff": encoded(image, "TIFF"),
        "lzw.tiff": encoded(image, "TIFF", compression="tiff_lzw"),
        "jpeg.tiff": encoded(image, "TIFF", compression="jpeg"),
        "a.bmp": encoded(image, "BMP"),
        "a.ppm": encoded(image, "PPM"),
        "a.avif": encoded(image, "AVIF"),
        "a.jp2": encoded(image, "JPEG2000"),
        "a.ico": encoded(image.resize((32, 32)), "ICO"),
        "a.tga": encoded(image, "TGA"),
    }


def _decode(name: str, data: bytes, folder: Path) -> None:
    decode_image(data, name)


def _crop(name: str, data: bytes, folder: Path) -> None:
    check_header(io.BytesIO(data), name)
    image = LazyImage(data, name)
    image.crop(image.height // 4, 0, image.height // 2 or 1, image.width)


ARRAYS = {
    "kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "bias": np.ones(5, np.float16),
    "count": np.array(3),
}


def _safetensors(folder: Path) -> Seeds:
    return {"a.safetensors": save({"w": ARRAYS["kernel"], "b": ARRAYS["bias"]}, {"model": "vit"})}


def _npz(folder: Path) -> Seeds:
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, **ARRAYS)
    np.savez_compressed(packed, **{f"params/{name}": value for name, value in ARRAYS.items()})
    return {"plain.npz": plain.getvalue(), "packed.npz": packed.getvalue()}


def _keras(folder: Path) -> Seeds:
    files = {}
    for name in ("old.h5", "new.h5"):
        with h5py.File(folder / name, "w") as file:
            if name == "old.h5":
                file.attrs["layer_names"] = [b"conv", b"dense"]
                file["conv/conv/kernel:0"] = ARRAYS["kernel"]
                options = {"compression": "gzip", "chunks": (8,)}
                file.create_dataset("dense/dense/bias:0", data=np.ones(64, np.float32), **options)
            else:
                group = file.create_group("layers/dense/vars")
                group.attrs["name"] = "logits"
                group["0"], group["1"] = np.ones((3, 2), np.float32), np.zeros(2, np.float32)
        files[name] = (folder / name).read_bytes()
    return files


def _torch(folder: Path) -> Seeds:
    # The files of the tests, which PyTorch itself has written.
    data = Path(__file__).parents[1] / "tests" / "weights" / "data"
    return {path.name: path.read_bytes() for path in sorted(data.glob("*.pth"))}


def _weights(name: str, data: bytes, folder: Path) -> None:
    path = folder / name
    path.write_bytes(data)
    read_weights(path)


def _run(folder: Path) -> Seeds:
    """Write a minimal run, and return its files."""
    import jax.numpy as jnp
    import orbax.checkpoint as ocp

    workdir = folder / "run"
    workdir.mkdir()
    save_config(default_config(), workdir)
    (workdir / "classes.json").write_text(json.dumps(["daisy", "roses"]))
    state = {
        "params": {"logits": {"kernel": jnp.ones((4, 2)), "bias": jnp.zeros(2)}},
        "model_state": {},
        "ema": None,
        "step": jnp.array(3),
    }
    with ocp.StandardCheckpointer() as writer:
        writer.save(workdir.absolute() / "checkpoints" / "3" / "state", state)
    files = sorted(path for path in workdir.rglob("*") if path.is_file())
    return {str(path.relative_to(workdir)): path.read_bytes() for path in files}


def _read_run(name: str, data: bytes, folder: Path) -> None:
    from netzoo.workdir.checkpoint import restore_variables

    path = folder / "run" / name
    sound = path.read_bytes()
    path.write_bytes(data)
    try:
        load_config(folder / "run")
        load_class_names(folder / "run")
        restore_variables(folder / "run")
    finally:
        path.write_bytes(sound)


def _vocabulary(folder: Path) -> Seeds:
    path = folder / "vocabulary.model"
    Vocabulary.learn([f"{left} {right}" for left, right in number_pairs("test")[:40]], 80).save(
        path
    )
    return {path.name: path.read_bytes()}


def _read_vocabulary(name: str, data: bytes, folder: Path) -> None:
    path = folder / "read.model"
    path.write_bytes(data)
    vocabulary = Vocabulary.load(path)
    vocabulary.decode(vocabulary.encode("two hundred \u2047 7"))
    vocabulary.pieces(range(len(vocabulary)))


_VALUES = (
    "0", "1", "-1", "7", "1.5", "-0.0", "1e-9", "1e400", "nan", "inf", "-inf", "True", "None", "",
    " ", "()", "(1,)", "(1, 2)", "(0.5, nan)", "[1", "((", "'x'", '"', "{}", "{'a': 1}", "sgd",
    "folder:x", "tfds:", "resnet50", "9" * 30, "9" * 5000, "\0", "\udcff", "\u00e9", "lambda: 1",
    "__import__('os')", "1;2",
    "a" * 10_000, "(" * 500, "-", "--", "=", "(('.*', 1.0),)", "(('(', 1),)",
)  # fmt: skip


def _keys(config: Any, prefix: str = "") -> list[str]:
    found = []
    for key, value in config.items():
        inner = _keys(value, f"{prefix}{key}.") if hasattr(value, "items") else [f"{prefix}{key}"]
        found += inner
    return found


def _overrides(random: Random) -> bytes:
    task = ("image_classification", "translation")[random.integers(2)]
    keys, lines = _keys(default_config(task)), [task]
    for _ in range(random.integers(1, 4)):
        key, value = keys[random.integers(len(keys))], _VALUES[random.integers(len(_VALUES))]
        if random.random() < 0.1:
            at = int(random.integers(len(key)))
            key = key[:at] + string.printable[random.integers(95)] + key[at + 1 :]
        if random.random() < 0.1:
            value = "".join(chr(int(random.integers(32, 0x2FF))) for _ in range(8))
        lines.append(f"--config.{key}={value}")
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _configure(name: str, data: bytes, folder: Path) -> None:
    """Read a configuration like train.py, and check it like the loop."""
    task, *arguments = data.decode("utf-8", "surrogateescape").split("\n")
    file = folder / f"{task or 'image_classification'}.py"
    if not file.exists():
        file.write_text(
            "from netzoo.config import default_config\n"
            f"def get_config():\n    return default_config({file.stem!r})\n"
        )
    _, overrides = split_overrides(arguments)
    config = read_config(str(file))
    override(config, overrides)
    json.dumps(resolve_config(config).to_dict())


TARGETS = {
    "decode": Target(_images, _decode, growth_mb=2500),
    "crop": Target(_images, _crop, growth_mb=2500),
    "safetensors": Target(_safetensors, _weights),
    "npz": Target(_npz, _weights),
    "keras": Target(_keras, _weights),
    "torch": Target(_torch, _weights),
    "vocabulary": Target(_vocabulary, _read_vocabulary),
    "run": Target(_run, _read_run),
    "config": Target(lambda folder: {"overrides": b""}, _configure, make=_overrides),
}
