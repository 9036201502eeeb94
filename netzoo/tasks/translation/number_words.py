"""A generated translation data set: numbers and their English names.

It has both directions, digits to words and words to digits; the source sentence shows the
direction. No number of `validation` or `test` occurs in `train` in either direction, so a network
that only memorises pairs fails on them.
"""

import functools

import numpy as np

# How many numbers with 1, 2, ... 6 digits each split has. Each length is sampled separately,
# because a sample of all numbers would rarely contain one of the 1,000 shortest.
_COUNTS = {
    "train": (8, 72, 720, 5200, 7000, 7000),
    "validation": (1, 6, 53, 120, 160, 160),
    "test": (1, 12, 107, 240, 320, 320),
}
SPLIT_SIZES = {split: 2 * sum(counts) for split, counts in _COUNTS.items()}
_SEED = 20170612

_BELOW_TWENTY = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def in_words(number: int) -> str:
    """Return the English name of a number from 0 to 999,999, such as `one hundred thirty-one`."""
    if number < 20:
        return _BELOW_TWENTY[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_BELOW_TWENTY[ones]}" if ones else "")
    unit, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    count, rest = divmod(number, unit)
    return f"{in_words(count)} {name}" + (f" {in_words(rest)}" if rest else "")


def number_pairs(split: str) -> list[tuple[str, str]]:
    """Return the `(source, target)` texts of `train`, `validation` or `test`, deterministically.

    The two pairs of a number are adjacent, so two slices of a split share at most one number. Their
    order is random, so evenly spaced pairs include both directions.
    """
    numbers, words_first = _sample()[split]
    pairs: list[tuple[str, str]] = []
    for number, swap in zip(numbers.tolist(), words_first.tolist(), strict=True):
        digits, words = str(number), in_words(number)
        both = [(digits, words), (words, digits)]
        pairs += reversed(both) if swap else both
    return pairs


@functools.cache
def _sample() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    # NumPy guarantees the numbers of RandomState, but not those of Generator, and the test split
    # must not change with the version.
    rng = np.random.RandomState(_SEED)
    parts: dict[str, list[np.ndarray]] = {split: [] for split in _COUNTS}
    for place in range(6):
        first = 10**place if place else 0
        ends = np.cumsum([counts[place] for counts in _COUNTS.values()])
        # Users try round numbers such as 200,007, which are rare in a uniform sample. Here a third
        # of the digits are zeros, if enough such numbers exist.
        digits = rng.randint(14, size=(2 * ends[-1], place + 1))
        drawn = np.where(digits < 10, digits, 0) @ 10 ** np.arange(place + 1)
        rest = first + rng.permutation(10 ** (place + 1) - first)
        numbers = np.concatenate([drawn[drawn >= first], rest])
        _, firsts = np.unique(numbers, return_index=True)
        numbers = rng.permutation(numbers[np.sort(firsts)[: ends[-1]]])
        for split, part in zip(parts, np.split(numbers, ends), strict=False):
            parts[split].append(part)
    return {
        split: (rng.permutation(np.concatenate(part)), rng.randint(2, size=SPLIT_SIZES[split] // 2))
        for split, part in parts.items()
    }
