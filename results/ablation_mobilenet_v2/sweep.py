"""What each ingredient of the recipe gives MobileNetV2, on two of five folds of the training part.

netzoo sweep results/ablation_mobilenet_v2/sweep.py --workdir runs/ablation_mobilenet_v2

`base` is the recipe of configs/mobilenet_v2.py. Every other row changes one ingredient of it. The
runs are shorter and their images smaller than in the recipe: 30 epochs at 96 px.
"""

from typing import Any


def get_sweep() -> dict[str, Any]:
    """Return the sweep."""
    return {
        "config": "mobilenet_v2",
        "set": {"data.image_size": 96, "train.epochs": 30, "evaluation.every_epochs": 10},
        "rows": [
            {"name": "base"},
            {"name": "muon", "optimizer.name": "muon"},
            {"name": "cutmix", "augment.cutmix": 1.0},
            {"name": "muon_6e-3", "optimizer.name": "muon", "optimizer.learning_rate": 6e-3},
            {"name": "larger_crops", "augment.crop_scale": (0.5, 1.0)},
            {"name": "muon_12e-3", "optimizer.name": "muon", "optimizer.learning_rate": 12e-3},
            {"name": "progressive", "train.image_sizes": ((0, 64), (10, 80), (20, 96))},
        ],
        "grid": {"data.fold": [(0, 5), (1, 5)]},
    }
