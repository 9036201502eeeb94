"""MobileNetV2: a ReLU in few channels destroys information, so bottlenecks must stay linear.

Follows figure 1 of Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks"
(arXiv:1801.04381).
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from netzoo.teaching import Claim, Numbers, Setting, panels, verdict

_DIMENSIONS = (2, 3, 5, 15, 30)


def measure(setting: Setting) -> Numbers:
    """Project a spiral, apply ReLU, and project back."""
    angle = np.linspace(0, 4 * np.pi, 400)
    spiral = np.stack([angle * np.cos(angle), angle * np.sin(angle)]) / angle.max()
    numbers: Numbers = {"spiral": spiral}
    seeds = setting.choose(100, 10)
    for dimensions in _DIMENSIONS:
        errors = []
        for seed in range(seeds):
            matrix = np.random.default_rng(seed).normal(size=(dimensions, 2))
            back = np.linalg.pinv(matrix) @ np.maximum(matrix @ spiral, 0)
            scale = (back * spiral).sum() / (back**2).sum()
            errors.append(np.linalg.norm(scale * back - spiral) / np.linalg.norm(spiral))
            if seed == 0:
                numbers[f"back/{dimensions}"] = back
        numbers[f"error/{dimensions}"] = np.array(errors)
    return numbers


def claims(numbers: Mapping[str, np.ndarray]) -> list[Claim]:
    """Judge the numbers."""
    errors = [numbers[f"error/{n}"].mean() for n in _DIMENSIONS]
    return [
        Claim(
            "ReLU destroys less information in more dimensions.",
            f"The error after the way back falls from {errors[0]:.2f} in {_DIMENSIONS[0]} "
            f"dimensions to {errors[-1]:.2f} in {_DIMENSIONS[-1]}.",
            verdict(numbers["error/2"] - numbers["error/30"]),
        )
    ]


def draw(numbers: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Draw the spirals."""
    names = ["input", *(f"{n} dimensions" for n in _DIMENSIONS)]
    figure, grid = panels("ReLU keeps a spiral only in many dimensions", names, columns=3)
    shown = [numbers["spiral"], *(numbers[f"back/{n}"] for n in _DIMENSIONS)]
    for axes, points in zip(grid, shown, strict=True):
        axes.scatter(*points, c=np.arange(points.shape[1]), cmap="viridis", s=8)
        axes.set_aspect("equal", "datalim")
    return {"spiral": figure}
