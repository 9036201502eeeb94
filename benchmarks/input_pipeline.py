"""Measures how many images per second the pipelines deliver, without a model.

python -m benchmarks.input_pipeline --source tfds:tf_flowers --cache decoded --threads 2
"""

import argparse
import itertools
import time
from collections.abc import Iterable

from netzoo.data import Augmentation, EvalBatches, TrainBatches, open_source, with_cache


def measure(batches: Iterable, seconds: float) -> tuple[float, float]:
    """Time batches, after the first few.

    Args:
        batches: endless batches with an `image`.
        seconds: how long to measure, at least.

    Returns:
        Images per second, and milliseconds of CPU time per image over all threads. The second
        number is also valid on a machine that does other work.
    """
    iterator = iter(batches)
    for _ in range(4):
        next(iterator)
    wall, processor, images = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        images += len(next(iterator)["image"])
    elapsed = time.perf_counter() - wall
    return images / elapsed, 1000 * (time.process_time() - processor) / images


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.input_pipeline", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--source", default="tfds:tf_flowers")
    parser.add_argument("--split", default="train[:80%]")
    parser.add_argument("--image-size", type=int, default=128, help="side in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--cache", default="none", help="none, encoded or decoded")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--randaugment", type=int, default=2, help="layers, at magnitude 9")
    parser.add_argument("--crop", type=float, default=0.25, help="smallest area of a crop")
    parser.add_argument("--evaluation", action="store_true", help="measure EvalBatches instead")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()

    source = with_cache(open_source(options.source, options.split), options.cache)
    if options.cache != "none":
        for index in range(len(source)):
            source[index]  # fills the cache, because the first epoch is not measured
    common = {
        "batch_size": options.batch_size,
        "image_size": options.image_size,
        "num_threads": options.threads,
    }
    if options.evaluation:
        passes = itertools.repeat(EvalBatches(source, **common))
        batches = itertools.chain.from_iterable(passes)
    else:
        crop = (options.crop, 1.0), (3 / 4, 4 / 3)
        augmentation = Augmentation(*crop, True, options.randaugment, 9.0)
        batches = TrainBatches(source, seed=0, augmentation=augmentation, **common)
    rate, cost = measure(batches, options.seconds)
    print(f"{rate:.0f} images/s, {cost:.2f} ms of CPU time per image")


if __name__ == "__main__":
    main()
