"""Weights by Keras's names, and the logits that Keras computes from them.

python -m tests.weights.keras_logits    # needs Keras 3 and its JAX backend; writes the numbers

The weights are drawn from their names, so only the logits are stored.
"""

import json
import os
import zlib
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent / "data" / "keras_logits.json"
IMAGE_SIZE, NUM_CLASSES = 64, 5
# Ours, Keras's constructor, and its width.
NETWORKS = (("mobilenet_v1_025", "MobileNet", 0.25), ("mobilenet_v2_035", "MobileNetV2", 0.35))


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return values for one tensor that keep the size of the signal."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    variable = name.rsplit("/", 1)[-1]
    if variable in ("gamma", "moving_variance"):
        values = 1 + 0.2 * np.tanh(values)
    elif variable == "depthwise_kernel":
        values = values * np.sqrt(2 / 9)
    elif variable == "kernel":
        values = values * np.sqrt(2 / np.prod(shape[:-1]))
    else:
        values = 0.1 * values
    return values.astype(np.float32)


def images() -> np.ndarray:
    """Return images `[2, 64, 64, 3]`."""
    size = (2, IMAGE_SIZE, IMAGE_SIZE, 3)
    return np.random.default_rng(0).standard_normal(size).astype(np.float32)


def main() -> None:
    """Run Keras and write names, shapes and logits of all networks."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    result = {"keras": keras.__version__}
    for ours, constructor, width in NETWORKS:
        model = getattr(keras.applications, constructor)(
            input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3),
            alpha=width,
            weights=None,
            classes=NUM_CLASSES,
            classifier_activation=None,
        )
        tensors = {}
        for layer in model.layers:
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            for weight in layer.weights:
                # The name in files; Keras 3 itself uses `kernel`.
                variable = "depthwise_kernel" if depthwise else weight.name
                tensors[f"{layer.name}/{variable}"] = tuple(weight.shape)
                weight.assign(draw(f"{layer.name}/{variable}", tuple(weight.shape)))
        logits = np.asarray(model(images(), training=False)).reshape(2, NUM_CLASSES)
        result[ours] = {"tensors": tensors, "logits": logits.tolist()}
    PATH.write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
