"""Knowledge distillation: a network also learns what teachers predict for the same images.

A teacher sees the crop of the network, after mixup and CutMix, inside the training step (the
consistent teacher of Beyer et al., arXiv:2106.05237, section 3). It has its own normalisation and
image size, is in evaluation mode, and is not trained.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.config import CONFIG_FILE, load_config
from netzoo.config.modules import import_modules
from netzoo.errors import UserError, note
from netzoo.paths import run_path
from netzoo.processes import sha256_of_arrays
from netzoo.tasks.classification.mix import normalize
from netzoo.weights import load
from netzoo.weights.class_names import class_names_of
from netzoo.weights.published import Preprocessing


class _Teacher(NamedTuple):
    model: nn.Module
    preprocessing: Preprocessing
    order: tuple[int, ...] | None  # for each class of the network, the teacher's logit


class Teachers:
    """The teachers of `distill.teacher`, perhaps none.

    Attributes:
      variables: The variables of each teacher.
      files: The SHA-256 of the variables, by `distill.teacher[i]`.
    """

    def __init__(self, config: ConfigDict, classes: int, class_names: Sequence[str] = ()):
        """Load the teachers, which must have the same classes, in any order.

        Args:
          config: The resolved configuration of the network.
          classes: Number of classes of the network.
          class_names: Their names, in the order of its logits; empty if unknown.

        Raises:
          UserError: The weights cannot be read, have other classes, or lack a preprocessing.
        """
        self._distill, self._data = config.distill, config.data
        self._teachers: list[_Teacher] = []
        self.variables: list[ArrayTree] = []
        for path in config.distill.teacher:
            model, variables, images = _load(config, path, classes)
            order = _order(path, class_names) if class_names else None
            self._teachers.append(_Teacher(model, images, order))
            self.variables.append(variables)
        digests = map(sha256_of_arrays, self.variables)
        self.files = {f"distill.teacher[{i}]": digest for i, digest in enumerate(digests)}

    def probabilities(self, variables: ArrayTree, images: jax.Array) -> jax.Array | None:
        """Return the mean of the teachers' probabilities, float32 `[batch, classes]`.

        The result is None without a teacher.

        `images` are the normalised and mixed images of the network. The soft probabilities are
        those of logits that are divided by `distill.temperature`.
        """
        if not self._teachers:
            return None
        data, distill = self._data, self._distill
        temperature = distill.temperature if distill.kind == "soft" else 1.0
        # Mixing commutes with normalisation: both are linear, and the weights of a mix sum to 1.
        pixels = images * jnp.asarray(data.std, jnp.float32) + jnp.asarray(data.mean, jnp.float32)
        found = []
        for (model, own, order), arrays in zip(self._teachers, variables, strict=True):
            seen = pixels
            if own.crop_size != images.shape[1]:
                shape = (len(images), own.crop_size, own.crop_size, 3)
                seen = jax.image.resize(pixels, shape, "linear")
            logits: Any = model.apply(arrays, normalize(seen, own.mean, own.std), train=False)
            logits = logits if order is None else logits[:, np.asarray(order)]
            found.append(jax.nn.softmax(logits / temperature))
        return jax.lax.stop_gradient(jnp.stack(found).mean(0))


def _load(
    config: ConfigDict, path: str, classes: int
) -> tuple[nn.Module, ArrayTree, Preprocessing]:
    folder = run_path(path)
    if (folder / CONFIG_FILE).is_file():
        import_modules(load_config(folder).modules, folder)
    size, dtype = config.distill.image_size, jnp.dtype(config.model.dtype)
    model, variables, images, _ = load(path, image_size=size, dtype=dtype)
    if images is None:
        raise UserError(
            f"distill.teacher {path}: the normalisation of its images is unknown; expected a "
            "published name, a run, or a file of save_safetensors with its preprocessing"
        )
    if model.num_classes != classes:
        raise UserError(
            f"distill.teacher {path} has {model.num_classes} classes, but the data has {classes}; "
            "expected the same classes. Fine-tune the teacher on the data first"
        )
    return model, variables, images


def _order(path: str, class_names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the teacher's logit of each class; None if the order is the same or unknown."""
    theirs = class_names_of(path)
    if theirs is None:
        note(
            f"distill.teacher {path} stores no class names; its classes are assumed to be in the "
            "data's order"
        )
        return None
    if sorted(theirs) != sorted(class_names):
        raise UserError(
            f"distill.teacher {path} has the classes {', '.join(theirs)}, but the data has "
            f"{', '.join(class_names)}; expected the same classes"
        )
    same = tuple(theirs) == tuple(class_names)
    return None if same else tuple(theirs.index(name) for name in class_names)
