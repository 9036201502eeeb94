"""Batches over requests: their sizes, their answers, and errors of the network."""

import threading

import numpy as np
import pytest

from netzoo.serving.batcher import Batcher, batch_sizes

PIXELS = np.eye(3, dtype=np.uint8)[:, None, None] * np.full((8, 8, 1), 255, np.uint8)


class Recorder:
    """A predictor that waits for permission, and records its batches."""

    def __init__(self, predictor, batches=None, go=None, size=None):
        self.preprocessing, self._predictor = predictor.preprocessing, predictor
        self.batches, self.go = [] if batches is None else batches, go or threading.Event()
        self.size, self.began = size, threading.Event()

    def with_batch_size(self, n):
        other = Recorder(self._predictor.with_batch_size(n), self.batches, self.go, n)
        other.began = self.began
        return other

    def probabilities(self, images):
        if not any(image.any() for image in images):  # compilation
            return
        self.batches.append((len(images), self.size))
        self.began.set()
        assert self.go.wait(30)
        if any(image[0, 0, 0] == 7 for image in images):
            raise RuntimeError("the device is lost")
        return self._predictor.probabilities(images)


def test_sizes_less_than_double_a_batch():
    assert batch_sizes(1) == [1]
    assert batch_sizes(12) == [1, 2, 4, 8, 12]
    assert batch_sizes(16) == [1, 2, 4, 8, 16]
    for largest in range(1, 40):
        sizes = batch_sizes(largest)
        padded = [next(size for size in sizes if size >= n) for n in range(1, largest + 1)]
        assert all(size < 2 * n for n, size in enumerate(padded, 1)), largest


def test_images_that_arrive_while_the_device_works_form_the_next_batch(colours):
    recorder = Recorder(colours)
    batcher = Batcher(recorder, largest=4, wait=0.0)
    first = batcher.submit(PIXELS[0])
    assert recorder.began.wait(30)
    others = [batcher.submit(PIXELS[n % 3]) for n in range(1, 7)]
    recorder.go.set()
    rows = np.stack([future.result(30) for future in [first, *others]])
    batcher.close()
    assert recorder.batches == [(1, 1), (4, 4), (2, 2)]
    assert rows.argmax(1).tolist() == [0, 1, 2, 0, 1, 2, 0]
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(("wait", "expected", "batches"), [(0.0, 1, 2), (30.0, 0, 2), (30.0, 1, 1)])
def test_an_image_waits_for_others_that_are_decoded(wait, expected, batches, colours):
    """With a wait of 30 s, the second image completes the batch, so nothing waits that long."""
    recorder = Recorder(colours)
    batcher = Batcher(recorder, largest=2, wait=wait)
    recorder.go.set()
    with batcher.expecting(expected):
        first = batcher.submit(PIXELS[0])
        if batches == 2:  # the first batch is under way without the second image
            assert recorder.began.wait(20)
        second = batcher.submit(PIXELS[1])
        assert [first.result(20).argmax(), second.result(20).argmax()] == [0, 1]
    batcher.close()
    assert len(recorder.batches) == batches


def test_an_error_reaches_the_images_of_its_batch_alone(colours):
    recorder = Recorder(colours)
    recorder.go.set()
    batcher = Batcher(recorder, largest=1)
    with pytest.raises(RuntimeError, match="the device is lost"):
        batcher.submit(np.full((8, 8, 3), 7, np.uint8)).result(30)
    assert batcher.submit(PIXELS[2]).result(30).argmax() == 2
    batcher.close()


def test_a_cancelled_image_costs_nothing_and_close_answers_the_rest(colours):
    recorder = Recorder(colours)
    batcher = Batcher(recorder, largest=4, wait=0.0)
    batcher.submit(PIXELS[0])
    assert recorder.began.wait(30)
    cancelled, kept = batcher.submit(PIXELS[1]), batcher.submit(PIXELS[2])
    assert cancelled.cancel()
    recorder.go.set()
    batcher.close()
    assert kept.result(0).argmax() == 2
    assert recorder.batches == [(1, 1), (1, 1)]
