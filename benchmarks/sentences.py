"""Sentences for contestants. It needs only the standard library, like `contestants`."""

import random

PAD, START, END, UNKNOWN = range(4)


def draw_sentences(rows: int, length: int, vocabulary: int, seed: int) -> list[list[int]]:
    """Return `rows` sentences of random tokens: tokens, END, padding up to `length`.

    At most a quarter is padding, as in batches of sentences with similar lengths.
    """
    draws = random.Random(seed)
    sentences = []
    for _ in range(rows):
        tokens = draws.randint(length * 3 // 4, length) - 1
        sentence = [*draws.choices(range(UNKNOWN, vocabulary), k=tokens), END]
        sentences.append(sentence + [PAD] * (length - len(sentence)))
    return sentences


def draw_pairs(rows: int, length: int, vocabulary: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return sources of `length` tokens, and targets with one more token, START, in front."""
    sources, targets = (draw_sentences(rows, length, vocabulary, seed) for seed in (0, 1))
    return sources, [[START, *target] for target in targets]


def count_tokens(targets: list[list[int]]) -> int:
    """Return the number of tokens to predict."""
    return sum(token != PAD for target in targets for token in target[1:])
