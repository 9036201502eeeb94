"""Sources, transforms and the input pipeline, independent of models and TensorFlow.

source = open_source("tfds:tf_flowers", "train[:80%]")
batches = TrainBatches(source, batch_size=32, image_size=128, seed=0, augmentation=...)
"""

import cv2

from netzoo.data.cache import CachedSource, with_cache
from netzoo.data.decode import decode_image
from netzoo.data.files import ImageError
from netzoo.data.images import Augmentation, EvalBatches, TrainBatches
from netzoo.data.source import DatasetNotFoundError, SkipCorrupt, Source
from netzoo.data.sources.open import open_source

# The pipeline is already parallel over images. OpenCV would start one more thread per core for each
# pipeline thread, and too many threads slow down both the pipeline and XLA.
cv2.setNumThreads(0)

__all__ = [
    "Augmentation",
    "CachedSource",
    "DatasetNotFoundError",
    "EvalBatches",
    "ImageError",
    "SkipCorrupt",
    "Source",
    "TrainBatches",
    "decode_image",
    "open_source",
    "with_cache",
]
