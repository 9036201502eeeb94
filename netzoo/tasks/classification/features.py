"""Features of images: the input of a network's classifier, computed once and kept in a folder."""

import functools
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from netzoo.data.images import EvalBatches
from netzoo.data.source import SkipCorrupt, Source, fingerprint_of
from netzoo.errors import UserError
from netzoo.files import MAX_DATA, open_regular, replacing
from netzoo.kernels import compiler_options
from netzoo.processes import sha256_of_arrays
from netzoo.progress import track
from netzoo.tasks.classification.mix import normalize
from netzoo.weights import LoadedModel

_BATCH = 32  # images


class Features(NamedTuple):
    """The images of a split as a network sees them before its classifier."""

    values: np.ndarray  # float32 [n, width]
    labels: np.ndarray  # int32 [n]


class Extractor:
    """Computes features, the output of a network of 0 classes.

    The features of a split are in `FOLDER/features-KEY.npz`. KEY depends on the weights, on the
    options of the network, on the preprocessing, and on the source with the names of its examples.

    Attributes:
      sha256: The SHA-256 of the weights.
      preprocessing: The preprocessing of the images.
    """

    def __init__(self, loaded: LoadedModel, folder: Path, num_threads: int = 2):
        """Keep features in `folder`; `num_threads` threads prepare the images.

        Raises:
          UserError: The preprocessing of the weights is unknown.
        """
        model, variables, images, _ = loaded
        if images is None:
            raise UserError(
                "the normalisation of images for these weights is unknown; expected a published "
                "name, a run of image classification, or a file of save_safetensors with its "
                "preprocessing"
            )
        self.sha256 = sha256_of_arrays(variables)
        self._model, self.preprocessing = model, images
        self._variables = jax.device_put(variables)
        self._folder, self._threads = folder, num_threads

    def __call__(self, source: Source, skip_corrupt: SkipCorrupt | None = None) -> Features:
        """Return the features of a source, in its order and without its corrupt examples."""
        described = {
            "weights": self.sha256,
            "model": repr(self._model),
            "preprocessing": self.preprocessing,
            "source": [source.name, source.split],
            "skip_corrupt": skip_corrupt is not None,
            **fingerprint_of(source),
        }
        key = sha256(json.dumps(described).encode()).hexdigest()[:16]
        path = self._folder / f"features-{key}.npz"
        if path.exists():
            with open_regular(path, MAX_DATA) as file, np.load(file, allow_pickle=False) as saved:
                return Features(saved["values"], saved["labels"])
        found = self._computed(source, skip_corrupt)
        with replacing(path) as file:
            np.savez(file, **found._asdict())
        return found

    def _computed(self, source: Source, skip_corrupt: SkipCorrupt | None) -> Features:
        images = self.preprocessing
        batches = EvalBatches(
            source,
            batch_size=_BATCH,
            image_size=images.crop_size,
            crop_pct=images.crop_size / images.resize_size,
            interpolation=images.interpolation,
            crop_mode=images.crop_mode,
            num_threads=self._threads,
            skip_corrupt=skip_corrupt,
        )
        values, labels = [], []
        for batch in track(batches, f"computing features of {source.split}"):
            kept = batch["mask"]
            values.append(np.asarray(self._apply(self._variables, batch["image"]))[kept])
            labels.append(batch["label"][kept])
        found = Features(np.concatenate(values), np.concatenate(labels))
        if not found.values.size:
            name = type(self._model).__name__
            raise UserError(
                f"{name} gives no features of {source.name} {source.split}; expected images that "
                "can be read, and a network that returns its features if num_classes is 0"
            )
        return found

    @functools.cached_property
    def _apply(self) -> Callable[[Any, np.ndarray], jax.Array]:
        def features(variables, images):
            images = normalize(images, self.preprocessing.mean, self.preprocessing.std)
            return self._model.apply(variables, images, train=False)

        return jax.jit(features, compiler_options=compiler_options())
