"""Predicts class probabilities of images, with the preprocessing of the weights.

predictor = netzoo.Predictor.from_weights("mobilenet_v2.tv_in1k")
probabilities = predictor(["photo.jpg", pixels])    # float32 [2, 1000]
predictor.top_k(probabilities, 3)                   # [[("tabby", 0.71), ...], ...]
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.errors import UserError
from netzoo.kernels import compiler_options, use_precision
from netzoo.models import fold_batch_norm
from netzoo.models.summary import check_variables, variable_shapes
from netzoo.paths import run_path
from netzoo.tasks import run_config
from netzoo.tasks.classification.classifier import Classifier
from netzoo.tasks.classification.mix import normalize
from netzoo.tasks.classification.multi_label_scores import DEFAULT_THRESHOLD
from netzoo.tasks.classification.temperature import stored_temperature
from netzoo.tasks.classification.thresholds import stored_thresholds
from netzoo.tasks.classification.views import averaged_logits, view_size
from netzoo.tasks.task import create_network
from netzoo.weights import load
from netzoo.weights.class_names import load_class_names
from netzoo.weights.published import Preprocessing
from netzoo.workdir import CHECKPOINTS
from netzoo.workdir.checkpoint import restore_variables


class Predictor(Classifier):
    """Maps images of any size to class probabilities, with one compilation.

    Attributes:
      model: The network, whose BatchNorm is folded into its convolutions.
      variables: The variables of `model`, on the device.
      temperature: What the logits are divided by before the softmax.
      precision: See `netzoo.kernels.use_precision`.
      tta: The kind of test-time augmentation; see `with_tta`.
    """

    def __init__(
        self,
        model: nn.Module,
        variables: ArrayTree,
        preprocessing: Preprocessing | None,
        class_names: Sequence[str] | None = None,
        batch_size: int = 32,
        temperature: float = 1.0,
        precision: str = "default",
        thresholds: np.ndarray | None = None,
    ):
        """Fold every BatchNorm into its convolution, and copy the variables to the device.

        The first four arguments are what `netzoo.load` returns. Without names, the classes are
        named by their indices: "class 0". Images are classified in batches of `batch_size`; smaller
        batches are padded. The logits are divided by `temperature`, which changes the probabilities
        but not their order. For `precision`, see `netzoo.kernels.use_precision`. With `thresholds`
        `[classes]`, each class has a probability of its own (a sigmoid instead of the softmax).

        Raises:
          UserError: The preprocessing is unknown (None), the network has no head, the numbers of
            names and of logits differ, or the variables do not belong to the model.
        """
        if preprocessing is None:
            raise UserError(
                "the normalisation of the images is unknown; pass mean and deviation: "
                "Predictor(model, variables, Preprocessing(...), class_names)"
            )
        if not model.num_classes:
            raise UserError(
                "the network has no classes, because its weights have no head; choose weights with "
                "a head (`netzoo models list --weights`), or train one: init.weights, netzoo probe"
            )
        if class_names is None:
            class_names = [f"class {i}" for i in range(model.num_classes)]
        if len(class_names) != model.num_classes:
            raise UserError(
                f"expected {model.num_classes} class names, one for each logit, got "
                f"{len(class_names)}"
            )
        super().__init__(preprocessing, class_names, batch_size)
        if "batch_stats" not in variables:  # otherwise, folding checks the variables
            check_variables(model, variables, variable_shapes(model, preprocessing.crop_size))
        self.model, variables = fold_batch_norm(model, variables, preprocessing.crop_size)
        self.variables = jax.device_put(variables)
        self.temperature, self.precision = temperature, precision
        self.thresholds = thresholds
        self.tta, self._size = "none", preprocessing.crop_size
        self._apply = jax.jit(self.apply, compiler_options=compiler_options())

    @classmethod
    def from_run(
        cls, workdir: str | Path, which: str = "last", config: ConfigDict | None = None
    ) -> "Predictor":
        """Load the network, class names and weights of a run.

        `which` is `"last"`, `"best"` or `"average"`; see `netzoo.workdir.checkpoint`. `config`
        replaces the configuration of the run, e.g. with another `evaluation.crop_pct`. If the run
        has a temperature for these weights (`netzoo eval --temperature`), it corrects the
        probabilities. A multi-label run uses its stored thresholds (`netzoo eval --thresholds`), or
        0.5.

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
        thresholds = None
        if config.data.multi_label:
            thresholds = stored_thresholds(workdir, which, step, class_names)
            if thresholds is None:
                thresholds = np.full(len(class_names), DEFAULT_THRESHOLD)
        return cls(
            model,
            variables,
            preprocessing,
            class_names,
            config.evaluation.batch_size,
            temperature,
            config.matmul_precision,
            thresholds,
        )

    @classmethod
    def from_weights(
        cls, name_or_path: str | Path, model: str | None = None, **options: Any
    ) -> "Predictor":
        """Load a network from weights, with their preprocessing.

        For the arguments, see `netzoo.load`; the folder of a run is passed to `from_run`.

        Raises:
          UserError: The file or name does not exist, cannot be read or does not fit the network, or
            its preprocessing is unknown.
        """
        if (run_path(name_or_path) / CHECKPOINTS).is_dir():
            return cls.from_run(name_or_path)
        return cls(*load(name_or_path, model, **options))

    def with_batch_size(self, batch_size: int) -> "Predictor":
        """Return this predictor for batches of another size; both share the variables."""
        other = copy.copy(self)
        other.batch_size = batch_size
        return other

    def with_tta(self, kind: str) -> "Predictor":
        """Return this predictor with the mean probabilities of several views of each image.

        `kind` is a value of `evaluation.tta`: `"none"`, `"flip"` or `"crops"`, the views of
        `netzoo.tasks.classification.views`. With `"crops"`, `preprocess` returns the whole square
        from which the views are taken. Both predictors share the variables.

        Raises:
          UserError: The kind is unknown, an image may have several classes, or the preprocessing
            leaves no room for other crops.
        """
        if kind != "none" and self.thresholds is not None:
            raise UserError(
                f"test-time augmentation ({kind}) needs one class per image, and an image of this "
                "network may have several classes; omit it"
            )
        other, images = copy.copy(self), self.preprocessing
        side, crop_pct = view_size(kind, self._size, self._size / images.resize_size)
        other.preprocessing = images._replace(resize_size=round(side / crop_pct), crop_size=side)
        other.tta = kind
        other._apply = jax.jit(other.apply, compiler_options=compiler_options())
        return other

    def apply(self, variables: ArrayTree, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return logits and probabilities, for programs that JAX traces.

        `images` are `[n, crop_size, crop_size, 3]`: uint8 from `preprocess`, or normalised float32.
        """
        if images.dtype == jnp.uint8:
            images = normalize(images, self.preprocessing.mean, self.preprocessing.std)

        def logits_of(images: jax.Array) -> Any:
            return self.model.apply(variables, images, train=False)

        with use_precision(self.precision):
            logits = averaged_logits(logits_of, images, self.tta, self._size)
            to_probabilities = jax.nn.softmax if self.thresholds is None else jax.nn.sigmoid
            return logits, to_probabilities(logits / self.temperature)

    def logits(self, preprocessed: Sequence[np.ndarray]) -> np.ndarray:
        """Return the logits of at most `batch_size` images from `preprocess`.

        Raises:
          UserError: A logit is not finite.
        """
        return self._run(preprocessed)[0]

    def probabilities(self, preprocessed: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probabilities of at most `batch_size` images from `preprocess`.

        Raises:
          UserError: A logit is not finite.
        """
        return self._run(preprocessed)[1]

    def _run(self, preprocessed: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        size = self.preprocessing.crop_size
        batch = np.zeros((self.batch_size, size, size, 3), np.uint8)
        batch[: len(preprocessed)] = preprocessed
        found = jax.device_get(self._apply(self.variables, batch))
        logits, probabilities = (values[: len(preprocessed)] for values in found)
        self.check_finite(logits, "the network", "use another --checkpoint or other weights")
        return logits, probabilities
