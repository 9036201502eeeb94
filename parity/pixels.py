"""Compares the preprocessing of images with torchvision's and timm's, over photographs.

    python -m parity.pixels PHOTO ... [--out results/preprocessing]    # needs the extra `parity`

Both sides read the same files, with Pillow's decoder on the side of the references. The references
are torchvision's presets of its weights and timm's transform for its weights, whole: resize, crop
and normalise. Differences are in levels of a pixel, 0 to 255.
"""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from netzoo.console import markdown_table, print_table
from netzoo.csv_files import write_csv
from netzoo.data.images import evaluation_image
from netzoo.weights import CATALOGUE

# Names in netzoo's catalogue, and torchvision's enumeration of the weights, or timm's name.
TORCHVISION = {
    "resnet50.tv_in1k": "ResNet50_Weights.IMAGENET1K_V1",
    "resnet50.tv2_in1k": "ResNet50_Weights.IMAGENET1K_V2",
    "vit_l16.tv_in1k": "ViT_L_16_Weights.IMAGENET1K_V1",
    "vit_b16.tv_swag_in1k_384": "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1",
}
TIMM = (
    "resnet50.gluon_in1k",
    "resnet50.ra_in1k",
    "resnet50.a1_in1k",
    "mobilenet_v1.ra4_e3600_r224_in1k",
    "mobilenet_v3_large.miil_in21k_ft_in1k",
    "vit_b16.augreg_in21k_ft_in1k",
    "vit_b16.augreg_in21k_ft_in1k_384",
)
COLUMNS = (
    *("weights", "reference", "resize", "crop", "interpolation", "photographs"),
    *("largest", "mean"),
)

Transform = Callable[[Image.Image], Any]  # returns a normalised tensor [3, H, W]


class Row(NamedTuple):
    """The differences for one preprocessing, in levels."""

    weights: str
    reference: str
    resize: int
    crop: int
    interpolation: str
    photographs: int
    largest: float
    mean: float


def references() -> dict[str, tuple[str, Transform]]:
    """Return, by netzoo's name of the weights, the reference and its transform."""
    models, data = (importlib.import_module(name) for name in ("torchvision.models", "timm.data"))
    get_pretrained_cfg = importlib.import_module("timm.models").get_pretrained_cfg
    found: dict[str, tuple[str, Transform]] = {}
    for name, enumeration in TORCHVISION.items():
        family, _, member = enumeration.partition(".")
        found[name] = f"torchvision `{enumeration}`", getattr(models, family)[member].transforms()
    for name in TIMM:
        theirs = CATALOGUE[name].timm
        settings = data.resolve_data_config(
            pretrained_cfg=get_pretrained_cfg(theirs).to_dict(), use_test_size=True
        )
        found[name] = f"timm `{theirs}`", data.create_transform(**settings)
    return found


def compare(name: str, reference: str, transform: Transform, photographs: list[Path]) -> Row:
    """Return the differences between netzoo and a reference over photographs."""
    images = CATALOGUE[name].preprocessing
    largest, sums = 0.0, []
    for path in photographs:
        crop_pct = images.crop_size / images.resize_size
        ours = evaluation_image(
            *(path.read_bytes(), str(path), images.crop_size, crop_pct),
            *(images.interpolation, images.crop_mode),
        )
        theirs = np.asarray(transform(Image.open(path).convert("RGB"))).transpose(1, 2, 0)
        levels = np.abs(images.normalize(ours) - theirs) * np.asarray(images.std)
        largest, sums = max(largest, float(levels.max())), [*sums, float(levels.mean())]
    values = (images.resize_size, images.crop_size, images.interpolation, len(photographs))
    # Normalising in float32 rounds by up to 1e-4 levels.
    return Row(name, reference, *values, round(largest, 3), round(float(np.mean(sums)), 3))


def table(rows: list[Row]) -> str:
    """Return the table of docs/weights.md."""
    texts = ("weights", "reference", "interpolation")
    head = ("weights", "reference", "resize", "crop", "interpolation", "largest", "mean")
    lines = (
        [
            *(f"`{row.weights}`", row.reference, str(row.resize), str(row.crop)),
            *(row.interpolation, f"{row.largest:g}", f"{row.mean:g}"),
        ]
        for row in rows
    )
    return markdown_table([(title, title not in texts) for title in head], lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, help="folder for pixels.csv")
    options = parser.parse_args()
    rows = [compare(name, *found, options.photographs) for name, found in references().items()]
    print_table(COLUMNS, [tuple(map(str, row)) for row in rows], right=COLUMNS[2:])
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        write_csv(options.out / "pixels.csv", COLUMNS, rows)


if __name__ == "__main__":
    main()
