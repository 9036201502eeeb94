"""A contestant of `benchmarks.input`: an input pipeline of netzoo or of tf.data.

Both do the same: shuffle, decode, crop 8 to 100 % of the area with aspect ratios of 3:4 to 4:3,
resize, flip half of the images, and batch as uint8. Without a cache of pixels, tf.data decodes only
the crop.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.contestants import serve

BUFFERED = 16  # batches, more than any pipeline keeps ready


def netzoo_batches(settings: dict[str, Any]) -> Iterator[Any]:
    """Return endless batches from the prepared data set."""
    from netzoo.data import Augmentation, TrainBatches, open_source, with_cache

    source = open_source(settings["source"], settings["split"], settings["data_dir"])
    source = with_cache(source, settings["cache"])
    if settings["cache"] != "none":
        for index in range(len(source)):
            source[index]  # fills the cache, because the first epoch is not measured
    return iter(
        TrainBatches(
            source,
            batch_size=settings["batch_size"],
            image_size=settings["image_size"],
            seed=0,
            augmentation=Augmentation((0.08, 1.0), (3 / 4, 4 / 3), True, 0, 0.0),
            num_threads=len(os.sched_getaffinity(0)),
        )
    )


def tf_batches(settings: dict[str, Any]) -> Iterator[Any]:
    """Return endless batches from the files in a folder."""
    import tensorflow as tf

    side, cache = settings["image_size"], settings["cache"]
    files = sorted(map(str, Path(settings["files"]).iterdir()))

    def window(shape):
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            shape,
            tf.zeros((1, 0, 4)),
            area_range=(0.08, 1.0),
            aspect_ratio_range=(3 / 4, 4 / 3),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        return tf.concat([begin[:2], size[:2]], 0)

    def cut(image):
        if cache == "decoded":
            top, left, height, width = tf.unstack(window(tf.shape(image)))
            image = image[top : top + height, left : left + width]
        else:
            where = window(tf.io.extract_jpeg_shape(image))
            image = tf.image.decode_and_crop_jpeg(image, where, channels=3)
        image = tf.image.random_flip_left_right(tf.image.resize(image, (side, side)))
        return tf.cast(tf.round(image), tf.uint8)

    parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": False}
    data = tf.data.Dataset.from_tensor_slices(files)
    if cache == "none":
        data = data.shuffle(len(files)).repeat().map(tf.io.read_file, **parallel)
    else:
        data = data.map(tf.io.read_file, **parallel)
        if cache == "decoded":
            data = data.map(lambda file: tf.io.decode_jpeg(file, channels=3), **parallel)
        data = data.cache()
        for _ in data:
            pass
        data = data.shuffle(len(files)).repeat()
    data = data.map(cut, **parallel).batch(settings["batch_size"], drop_remainder=True)
    return data.prefetch(4).as_numpy_iterator()


def main(settings: dict[str, Any]) -> None:
    """Run as a contestant that delivers the requested number of batches.

    It answers with the seconds that the batches took, and the CPU seconds of all threads.
    """
    batches = (netzoo_batches if settings["pipeline"] == "netzoo" else tf_batches)(settings)

    def take(count: int) -> dict[str, float]:
        # Buffers were filled while other contestants ran, so their batches are not timed.
        for index, _ in enumerate(itertools.islice(batches, BUFFERED + count)):
            if index == BUFFERED - 1:
                start, processor = time.perf_counter(), time.process_time()
        return {
            "seconds": time.perf_counter() - start,
            "processor_seconds": time.process_time() - processor,
        }

    tensorflow = sys.modules.get("tensorflow")
    serve({"tensorflow": tensorflow.__version__ if tensorflow else ""}, take)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
