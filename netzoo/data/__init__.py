"""Sources, transforms and the input pipeline, independent of models and TensorFlow.

source = open_source("tfds:tf_flowers", "train[:80%]")
batches = TrainBatches(source, batch_size=32, image_size=128, seed=0, augmentation=...)
"""

import cv2
import lazy_loader

# The pipeline is already parallel over images. OpenCV would start one more thread per core for each
# pipeline thread, and too many threads slow down both the pipeline and XLA.
cv2.setNumThreads(0)

# The names in `__init__.pyi` are loaded on first use. A prediction needs neither Grain nor
# TensorFlow Datasets, which together take a second to import.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
