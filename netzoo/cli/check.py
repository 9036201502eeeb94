"""Decodes every image of a source, and lists corrupt images.

netzoo check folder:photos        # all splits
netzoo check tfds:tf_flowers --split train[:80%]
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from netzoo.cli.arguments import Parser
from netzoo.console import say
from netzoo.data.decode import decode_image
from netzoo.data.files import ImageError
from netzoo.data.source import Source
from netzoo.data.sources.open import open_source, split_sizes
from netzoo.errors import UserError

_AT_ONCE = 256  # examples; limits the memory of pending results


def corrupt_examples(source: Source, num_threads: int = 2) -> Iterator[str]:
    """Decode every example in full; yield the error of each corrupt example, in order."""

    def problem(index: int) -> str | None:
        try:
            example = source[index]
            if isinstance(image := example["image"], bytes):  # otherwise already decoded
                decode_image(image, example["name"])
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(num_threads) as pool:
        for first in range(0, len(source), _AT_ONCE):
            indices = range(first, min(first + _AT_ONCE, len(source)))
            yield from filter(None, pool.map(problem, indices))


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status, 1 if an image is corrupt."""
    parser = Parser(prog="netzoo check", description=__doc__)
    parser.add_argument("source", help="folder:PATH, tfds:NAME or synthetic_flowers")
    parser.add_argument("--split", help="TFDS split expression (default: each split of the source)")
    parser.add_argument("--data-dir", help="TFDS folder (default: ~/tensorflow_datasets)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.threads < 1:
        raise UserError(f"--threads {options.threads}; expected at least 1")
    splits = [options.split] if options.split else split_sizes(options.source, options.data_dir)
    status = 0
    for split in splits:
        source = open_source(options.source, split, options.data_dir, skip_corrupt=True)
        bad = 0
        for reason in corrupt_examples(source, options.threads):
            bad += 1
            say(reason)
        say(f"{bad:,} of {len(source):,} images of {options.source} {split} are corrupt")
        status |= bad > 0
    return status
