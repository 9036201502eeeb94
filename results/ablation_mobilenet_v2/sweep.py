"""What each ingredient of the recipe gives MobileNetV2, on two of five folds of the training part.

netzoo sweep results/ablation_mobilenet_v2/sweep.py --workdir runs/ablation_mobilenet_v2

`base` is the recipe of configs/_flowers.py. `plain` has none of its ingredients but crops and flips
of the image. Every other row adds or changes one ingredient of `base`. The runs are short and their
images small: 30 epochs at 96 px.
"""

from typing import Any


def get_sweep() -> dict[str, Any]:
    """Return the sweep."""
    return {
        "config": "mobilenet_v2",
        "set": {"data.image_size": 96, "train.epochs": 30, "evaluation.every_epochs": 10},
        "rows": [
            {"name": "base"},
            {
                "name": "plain",
                "augment.randaugment_layers": 0,
                "augment.mixup": 0.0,
                "train.label_smoothing": 0.0,
                "train.ema_decay": 0.0,
            },
            {"name": "cutmix", "augment.cutmix": 1.0},
            {"name": "erasing", "augment.erasing_prob": 0.25},
            {"name": "trivialaugment", "augment.policy": "trivialaugment"},
            {"name": "muon", "optimizer.name": "muon"},
            {"name": "stochastic_depth", "model.drop_path_rate": 0.1},
            {"name": "progressive", "train.image_sizes": ((0, 64), (10, 80), (20, 96))},
            {"name": "larger_crops", "augment.crop_scale": (0.5, 1.0)},
        ],
        "grid": {"data.fold": [(0, 5), (1, 5)]},
    }
