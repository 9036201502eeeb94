"""Collects the images of concurrent requests into batches for the device."""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from netzoo.tasks.classification.predictor import Predictor


class _Waiting(NamedTuple):
    image: np.ndarray
    answer: Future[np.ndarray]
    since: float


def batch_sizes(largest: int) -> list[int]:
    """Return the powers of two below `largest`, and `largest`, so that padding is below a half."""
    return [1 << power for power in range((largest - 1).bit_length())] + [largest]


class Batcher:
    """Classifies single images in batches, in one thread of its own.

    A batch starts when it has `largest` images, when no other image is being decoded, or when its
    first image has waited `wait` seconds. Images that arrive while the device works form the next
    batch. A batch is padded to the next larger number of `batch_sizes(largest)`. Every one of these
    shapes was compiled at the start.
    """

    def __init__(self, predictor: Predictor, largest: int = 16, wait: float = 0.005):
        """Compile the network for every size of batches, and start the thread."""
        self._largest, self._wait = largest, wait
        self._predictors = {n: predictor.with_batch_size(n) for n in batch_sizes(largest)}
        side = predictor.preprocessing.crop_size
        for sized in self._predictors.values():
            sized.probabilities([np.zeros((side, side, 3), np.uint8)])
        self._expected = 0
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def expecting(self, images: int) -> Iterator[None]:
        """Announce the images that the `with` block will submit, so that a batch waits for them."""
        self._expected += images
        try:
            yield
        finally:
            self._expected -= images

    def submit(self, image: np.ndarray) -> Future[np.ndarray]:
        """Return the future probabilities, float32 `[classes]`, of an image from `preprocess`.

        An image whose future is cancelled before its batch starts is left out.
        """
        answer: Future[np.ndarray] = Future()
        self._queue.put(_Waiting(image, answer, time.monotonic()))
        return answer

    def close(self) -> None:
        """Answer the submitted images, and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while first := self._queue.get():
            batch, ends = [first], False
            while len(batch) < self._largest and not ends:
                remaining = first.since + self._wait - time.monotonic() if self._expected else 0.0
                try:
                    following = self._queue.get(timeout=max(remaining, 0))
                except queue.Empty:
                    break
                if following:
                    batch.append(following)
                ends = following is None
            self._classify([one for one in batch if one.answer.set_running_or_notify_cancel()])
            if ends:
                return

    def _classify(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        sized = next(p for n, p in self._predictors.items() if n >= len(batch))
        try:
            rows = sized.probabilities([one.image for one in batch])
        except Exception as error:  # the thread lives on for the next batch
            for one in batch:
                one.answer.set_exception(error)
            return
        for one, row in zip(batch, rows, strict=True):
            one.answer.set_result(row)
