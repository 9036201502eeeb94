"""Predicts class probabilities of images, with the preprocessing of the weights.

predictor = netzoo.Predictor.from_weights("mobilenet_v2.tv_in1k")
probabilities = predictor(["photo.jpg", pixels])    # float32 [2, 1000]
predictor.top_k(probabilities, 3)                   # [[("class 281", 0.71), ...], ...]
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.data.files import read_file
from netzoo.data.images import evaluation_image
from netzoo.errors import UserError
from netzoo.kernels import compiler_options, use_precision
from netzoo.models import fold_batch_norm
from netzoo.models.summary import check_variables, variable_shapes
from netzoo.paths import run_path, user_path
from netzoo.tasks import run_config
from netzoo.tasks.classification.class_names import class_names_of, load_class_names
from netzoo.tasks.classification.mix import normalize
from netzoo.tasks.classification.temperature import stored_temperature
from netzoo.tasks.task import create_network
from netzoo.weights import load_model
from netzoo.weights.published import Preprocessing
from netzoo.workdir import CHECKPOINTS
from netzoo.workdir.checkpoint import restore_variables

ImageLike = np.ndarray | bytes | str | os.PathLike[str]


class Predictor:
    """Maps images of any size to class probabilities, with one compilation."""

    def __init__(
        self,
        model: nn.Module,
        variables: ArrayTree,
        preprocessing: Preprocessing,
        class_names: Sequence[str],
        batch_size: int = 32,
        temperature: float = 1.0,
        precision: str = "default",
    ):
        """Fold every BatchNorm into its convolution, and copy the variables to the device.

        Images are classified in batches of `batch_size`; smaller batches are padded. The logits are
        divided by `temperature`, which changes the probabilities but not their order. For
        `precision`, see `netzoo.kernels.use_precision`.

        Raises:
          UserError: The numbers of names and of logits differ, or the variables do not belong to
            the model.
        """
        if len(class_names) != model.num_classes:
            raise UserError(
                f"expected {model.num_classes} class names, one for each logit, got "
                f"{len(class_names)}"
            )
        self.preprocessing, self.class_names = preprocessing, tuple(class_names)
        self.batch_size = batch_size
        if "batch_stats" not in variables:  # otherwise, folding checks the variables
            check_variables(model, variables, variable_shapes(model, preprocessing.crop_size))
        model, variables = fold_batch_norm(model, variables, preprocessing.crop_size)
        self._variables = jax.device_put(variables)

        @use_precision(precision)
        def probabilities(variables, images):
            images = normalize(images, preprocessing.mean, preprocessing.std)
            return jax.nn.softmax(model.apply(variables, images, train=False) / temperature)

        self._apply = jax.jit(probabilities, compiler_options=compiler_options())

    @classmethod
    def from_run(
        cls, workdir: str | Path, which: str = "last", config: ConfigDict | None = None
    ) -> "Predictor":
        """Load the network, class names and weights of a run.

        `which` is `"last"`, `"best"` or `"average"`; see `netzoo.workdir.checkpoint`. `config`
        replaces the configuration of the run, e.g. with another `evaluation.crop_pct`. If the run
        has a temperature for these weights (`netzoo eval --temperature`), it corrects the
        probabilities.

        Raises:
          UserError: The folder is not a run of image classification, or cannot be read.
        """
        workdir = run_path(workdir)
        config = run_config(workdir, config)
        class_names = load_class_names(workdir)
        step, _, variables = restore_variables(workdir, which)
        model = create_network(config, len(class_names))
        preprocessing = Preprocessing.of_run(config)
        temperature = stored_temperature(workdir, which, step) or 1.0
        return cls(
            model,
            variables,
            preprocessing,
            class_names,
            config.evaluation.batch_size,
            temperature,
            config.matmul_precision,
        )

    @classmethod
    def from_weights(
        cls, name_or_path: str | Path, model: str | None = None, **options: Any
    ) -> "Predictor":
        """Load a network from weights, with their preprocessing.

        For the arguments, see `netzoo.load_model`; the folder of a run is passed to `from_run`. If
        the file is netzoo's own and stores class names, the classes have these names. Otherwise,
        their names are their indices: "class 281" is the tabby cat of ImageNet-1k, whose classes
        have their usual order.

        Raises:
          UserError: The file or name does not exist, cannot be read or does not fit the network, or
            its preprocessing is unknown.
        """
        if (run_path(name_or_path) / CHECKPOINTS).is_dir():
            return cls.from_run(name_or_path)
        network, variables, preprocessing = load_model(name_or_path, model, **options)
        if preprocessing is None:
            raise UserError(
                f"the normalisation of images for {name_or_path} is unknown; pass mean and "
                "deviation: Predictor(model, variables, Preprocessing(...), class_names)"
            )
        names = class_names_of(name_or_path)
        if names is None or len(names) != network.num_classes:  # the latter with another head
            names = tuple(f"class {i}" for i in range(network.num_classes))
        return cls(network, variables, preprocessing, names)

    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> np.ndarray:
        """Return the probabilities of the classes, float32 `[n, classes]`.

        An image is the path or the bytes of a file, or RGB pixels uint8 `[height, width, 3]`.
        Images may differ in size.

        Raises:
          UserError: A file cannot be read or decoded, or an array is not uint8 `[H, W, 3]`.
        """
        if isinstance(images, np.ndarray):
            sequence = list(images) if images.ndim == 4 else [images]
        elif isinstance(images, Sequence) and not isinstance(images, bytes | str):
            sequence = list(images)
        else:
            sequence = [images]
        answers = [np.zeros((0, len(self.class_names)), np.float32)]
        for first in range(0, len(sequence), self.batch_size):
            batch = map(self.preprocess, sequence[first : first + self.batch_size])
            answers.append(self.probabilities(list(batch)))
        return np.concatenate(answers)

    def preprocess(self, image: ImageLike) -> np.ndarray:
        """Return the preprocessed image, uint8 `[crop_size, crop_size, 3]`.

        Raises:
          UserError: See `__call__`.
        """
        _, _, resize_size, size, interpolation = self.preprocessing
        name = "the image"
        if isinstance(image, str | os.PathLike):
            name, image = str(image), read_file(user_path(image), str(image))
        elif not isinstance(image, bytes):
            shape: tuple[int, ...] = getattr(image, "shape", ())
            dtype = getattr(image, "dtype", type(image).__name__)
            is_rgb = len(shape) == 3 and shape[2] == 3 and 0 not in shape
            if not (is_rgb and isinstance(image, np.ndarray) and dtype == np.uint8):
                raise UserError(
                    "expected an image as a path, the bytes of a file, or a NumPy array uint8 "
                    "[height, width, 3] with red, green and blue from 0 to 255; got "
                    f"{dtype} {shape or ''}"
                )
        return evaluation_image(image, name, size, size / resize_size, interpolation)

    def probabilities(self, preprocessed: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probabilities of at most `batch_size` images from `preprocess`."""
        size = self.preprocessing.crop_size
        batch = np.zeros((self.batch_size, size, size, 3), np.uint8)
        batch[: len(preprocessed)] = preprocessed
        return np.asarray(self._apply(self._variables, batch))[: len(preprocessed)]

    def top_k(self, probabilities: np.ndarray, k: int) -> list[list[tuple[str, float]]]:
        """Return names and probabilities of the `k` most probable classes per row, best first.

        Ties go to the lower index.
        """
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
        return [
            [(self.class_names[index], float(row[index])) for index in indices]
            for row, indices in zip(probabilities, best, strict=True)
        ]
