"""Random numbers that both sides of a comparison generate from a name and a shape alone."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

SMALLEST_SHARE = 1e-4


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return standard normal numbers that depend on the name and the shape alone."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)


def tokens(name: str, lengths: Sequence[int], vocabulary: int) -> np.ndarray:
    """Return sentences of the given lengths from tokens 1 to `vocabulary - 1`, padded with 0."""
    shape = len(lengths), max(lengths)
    drawn = np.random.default_rng(zlib.crc32(name.encode())).integers(1, vocabulary, shape)
    return np.where(np.arange(shape[1]) < np.asarray(lengths)[:, None], drawn, 0).astype(np.int32)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return plausible values for a tensor of a PyTorch state dict, as float32.

    Statistics and scales stay away from 0, and kernels keep the variance of the signal (He et al.,
    arXiv:1502.01852), so that the rounding of one layer does not hide the error of another.
    """
    values = normal(name, shape)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        values = 1 + 0.2 * np.tanh(values)
    elif leaf == "weight" and len(shape) == 1:
        values = 1 + 0.1 * values
    elif len(shape) > 1:
        values = values * np.sqrt(2 / max(np.prod(shape[1:]), 1))
    else:
        values = 0.1 * values
    return values.astype(np.float32)


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return `weight` for every name; integer counters of batches are left out."""
    return {
        name: weight(name, tuple(shape))
        for name, shape in shapes.items()
        if not name.endswith("num_batches_tracked")
    }


def fingerprint(tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of names and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name], np.float32).tobytes())
    return digest.hexdigest()


def summary(name: str, values: np.ndarray) -> list[float]:
    """Return the norm of a tensor and its projection onto a direction that its name determines.

    If two tensors with one name differ by `d`, their projections differ by about `|d|`.
    """
    values = np.asarray(values, np.float64)
    direction = normal(f"direction of {name}", values.shape)
    return [float(np.linalg.norm(values)), float((values * direction).sum())]


def largest_error(ours: Mapping[str, list[float]], reference: Mapping[str, list[float]]) -> float:
    """Return the largest relative difference between the summaries of two sets of tensors.

    A difference is relative to the norm of its tensor, or to a small share of the largest norm if
    that is larger: the gradient of a bias before BatchNorm consists of rounding errors only.
    """
    floor = SMALLEST_SHARE * max((norm for norm, _ in reference.values()), default=0.0)
    errors = [0.0]
    for name, (norm, projection) in reference.items():
        our_norm, our_projection = ours[name]
        difference = max(abs(our_norm - norm), abs(our_projection - projection))
        errors.append(difference / max(norm, floor))
    return max(errors)
