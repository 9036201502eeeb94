"""Numbers and their names: right, held out, and the same for everyone."""

import collections
import hashlib

import pytest

from netzoo.tasks.translation.number_words import SPLIT_SIZES, in_words, number_pairs

VALUES = {
    **{"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8},
    **{"nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14},
    **{"fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19},
    **{"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70},
    **{"eighty": 80, "ninety": 90, "zero": 0},
}


def parse(words: str) -> int:
    """Read an English number, by the rules of the language and not by those of `in_words`."""
    total = group = 0
    for word in words.replace("-", " ").split():
        if word == "thousand":
            total, group = group * 1000, 0
        elif word == "hundred":
            group *= 100
        else:
            group += VALUES[word]
    return total + group


def numbers(split: str) -> set[int]:
    return {int(text) for pair in number_pairs(split) for text in pair if text.isdigit()}


def test_names_are_right():
    """The name of every number parses to the number, and no two numbers share a name."""
    tried = [*range(20_000), *range(20_000, 1_000_000, 97), 999_999]
    names = [in_words(number) for number in tried]
    assert [parse(name) for name in names] == tried
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "zero"),
        (15, "fifteen"),
        (40, "forty"),
        (100, "one hundred"),
        (31_415, "thirty-one thousand four hundred fifteen"),
        (100_000, "one hundred thousand"),
        (900_021, "nine hundred thousand twenty-one"),
    ],
)
def test_names_are_spelled_as_documented(number, name):
    """Names have hyphens, no "and" and no inner "zero", which the other test would not notice."""
    assert in_words(number) == name


def test_splits_are_held_out_by_number():
    """A number of one split occurs in no other, in neither direction."""
    found = {split: numbers(split) for split in SPLIT_SIZES}
    for split, size in SPLIT_SIZES.items():
        assert len(found[split]) == size // 2  # and occurs only once in its own split
    assert sum(map(len, found.values())) == len(set.union(*found.values()))


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_both_directions_and_all_lengths(split):
    """Each number occurs in both directions, and there are numbers with 1 to 6 digits."""
    pairs = number_pairs(split)
    assert len(pairs) == SPLIT_SIZES[split]
    for first, second in zip(pairs[::2], pairs[1::2], strict=True):
        assert first == second[::-1]
        digits, words = sorted(first)  # digits sort before letters
        assert parse(words) == int(digits)
    digits = collections.Counter(len(str(number)) for number in numbers(split))
    assert set(digits) == {1, 2, 3, 4, 5, 6}
    assert min(digits[4], digits[5], digits[6]) > len(pairs) // 10


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_round_numbers_are_among_them(split):
    """A network that rarely saw three or more zeros fails on the numbers that people try."""
    large = [str(number) for number in numbers(split) if number > 99_999]
    assert sum(number.count("0") >= 3 for number in large) > len(large) / 6


@pytest.mark.parametrize("stride", [2, 10, 20])
def test_evenly_spaced_pairs_have_both_directions(stride):
    """An evaluation of a few pairs covers both directions."""
    share = [source.isdigit() for source, _ in number_pairs("test")[::stride]]
    assert 0.3 < sum(share) / len(share) < 0.7


def test_splits_never_change():
    """The splits do not depend on the day, the machine or the version of NumPy."""
    text = repr([number_pairs(split) for split in SPLIT_SIZES])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "e947a1604a30a29c"
