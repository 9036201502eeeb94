"""Tests of the synthetic flower dataset and of the contact sheet."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from scipy.optimize import minimize

from netzoo import lock
from netzoo.data.sources.synthetic import builder, painter, shapes

# Mean pixel values of the first five training images of version 1.0.0.
GOLDEN_MEANS = (124.83, 95.17, 35.45, 122.95, 33.56)


def _draw(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(
        *(builder.draw_example(split, index) for index in range(count)), strict=True
    )
    return np.stack(images), np.array(labels)


def _linear_accuracy(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], decay: float
) -> float:
    """Test accuracy of multinomial logistic regression on standardised features."""
    (features, labels), (test_features, test_labels) = train, test
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    features, test_features = (features - mean) / deviation, (test_features - mean) / deviation
    count, size = features.shape
    targets = np.eye(5, dtype=np.float32)[labels]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(size + 1, 5).astype(np.float32)
        scores = features @ weights[:-1] + weights[-1]
        scores -= scores.max(1, keepdims=True)
        log_probability = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        error = (np.exp(log_probability) - targets) / count
        loss = -(targets * log_probability).sum() / count + 0.5 * decay * (weights[:-1] ** 2).sum()
        gradient = np.vstack([features.T @ error + decay * weights[:-1], error.sum(0)])
        return float(loss), gradient.ravel().astype(np.float64)

    start = np.zeros((size + 1) * 5)
    flat = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 25}).x
    weights = flat.reshape(size + 1, 5)
    guesses = (test_features @ weights[:-1] + weights[-1]).argmax(1)
    return float((guesses == test_labels).mean())


def _shrink(images: np.ndarray, side: int) -> np.ndarray:
    small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images]
    return np.stack(small).reshape(len(images), -1) / np.float32(255.0)


def test_classes_in_the_order_of_tf_flowers():
    """The class order equals that of tf_flowers."""
    expected = ("dandelion", "daisy", "tulips", "sunflowers", "roses")
    assert expected == builder.CLASS_NAMES
    assert set(expected) == set(shapes.PALETTES) == set(painter._BLOOMS)


def test_split_sizes_divide_into_classes():
    """The splits have the documented sizes and balanced classes."""
    assert builder.SPLIT_SIZES == {"train": 3000, "test": 750}
    for size in builder.SPLIT_SIZES.values():
        labels = [index % 5 for index in range(size)]
        assert np.bincount(labels).tolist() == [size // 5] * 5


@pytest.mark.parametrize("index", range(5))
def test_same_index_same_picture(index):
    """An image depends only on its index."""
    first, label = builder.draw_example("train", index)
    again, _ = builder.draw_example("train", index)
    assert first.shape == (96, 96, 3) and first.dtype == np.uint8 and label == index
    np.testing.assert_array_equal(first, again)


def test_pictures_have_not_changed():
    """Published accuracies hold only for these images.

    The test compares means instead of a hash, because sine and exponential may differ in the last
    bit between processors. Change VERSION together with these numbers.
    """
    means = [builder.draw_example("train", index)[0].mean() for index in range(5)]
    np.testing.assert_allclose(means, GOLDEN_MEANS, atol=0.2)


def test_pictures_differ_between_indices_and_splits():
    """No test image repeats a training image."""
    train, _ = _draw("train", 50)
    test, _ = _draw("test", 50)
    pictures = np.concatenate([train, test]).reshape(100, -1).astype(np.float32)
    norms = (pictures**2).sum(1)
    squared = norms[:, None] + norms[None, :] - 2.0 * pictures @ pictures.T
    distance = np.sqrt(np.maximum(squared, 0.0) / pictures.shape[1])
    np.fill_diagonal(distance, np.inf)
    assert distance.min() > 5.0  # root mean square, in grey levels


def test_flowers_can_be_made_out():
    """No image is blank, black, overexposed or non-finite."""
    with np.errstate(all="raise", under="ignore"):
        images, _ = _draw("train", 100)
    assert images.reshape(100, -1).std(1).min() > 8.0
    assert images.reshape(100, -1).mean(1).min() > 10.0
    assert images.reshape(100, -1).mean(1).max() < 245.0


@pytest.mark.slow
def test_pixels_and_colours_do_not_give_the_class_away():
    """Colour and position alone do not determine the class.

    A linear classifier sees only these. If a class had its own colour or background, it would
    exceed 60 %, and training runs would not show that a network learns shapes. Chance is 20 %.
    """
    train, test = _draw("train", 1000), _draw("test", 300)
    accuracy = _linear_accuracy(
        (_shrink(train[0], 24), train[1]), (_shrink(test[0], 24), test[1]), decay=1.0
    )
    assert 0.25 < accuracy < 0.6


def test_prepare_writes_array_record_without_tensorflow(tmp_path):
    """The data set works without TensorFlow and without a network.

    The test uses a separate process, so that imports of other tests do not count, and few examples
    for speed. The second call must find the data instead of drawing it again.
    """
    program = f"""
import socket, sys
def no_network(*args, **kwargs): raise AssertionError("the network was used")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = no_network
from netzoo.data.sources.synthetic import builder
builder.SPLIT_SIZES = {{"train": 20, "test": 5}}
drawn = builder.prepare({str(tmp_path)!r})
drawn = builder.prepare({str(tmp_path)!r})
assert drawn.info.features["label"].names == list(builder.CLASS_NAMES)
source = drawn.as_data_source(split="train")
labels = sorted(int(example["label"]) for example in source)
assert labels == [label for label in range(5) for _ in range(4)], labels
assert source[0]["image"].shape == (96, 96, 3)
assert len(drawn.as_data_source(split="test")) == 5
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.count("Generating 25 synthetic flowers") == 1
    files = sorted(path.name for path in (tmp_path / "synthetic_flowers" / "1.0.0").iterdir())
    assert "synthetic_flowers-train.array_record-00000-of-00001" in files
    assert not [name for name in files if "incomplete" in name]


def test_two_draw_at_once(tmp_path, monkeypatch, capsys):
    """Protects the first use by two processes: one draws, and the other waits for the result."""
    waiting, draw = threading.Event(), builder.draw_example

    def draw_later(split, index):
        assert waiting.wait(timeout=10), "the second one says that it waits"
        return draw(split, index)

    monkeypatch.setattr(builder, "SPLIT_SIZES", {"train": 10, "test": 5})
    monkeypatch.setattr(builder, "draw_example", draw_later)
    monkeypatch.setattr(lock, "note", lambda text: waiting.set())
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(builder.prepare, str(tmp_path)) for _ in range(2)]
        assert [len(each.result().as_data_source("train")) for each in found] == [10, 10]
    assert capsys.readouterr().err.count("Generating 15 synthetic flowers") == 1


def test_jpeg_keeps_the_colours():
    """Red and blue are not swapped by OpenCV's BGR order."""
    image = np.zeros((96, 96, 3), np.uint8)
    image[..., 0] = 200
    decoded = cv2.imdecode(np.frombuffer(builder._encode(image), np.uint8), 1)
    np.testing.assert_allclose(decoded[..., ::-1].mean((0, 1)), [200, 0, 0], atol=4)
