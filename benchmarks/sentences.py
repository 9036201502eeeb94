"""Sentences that contestants are given. Only the standard library, as in `contestants`."""

import random

PAD, START, END, UNKNOWN = range(4)


def draw_sentences(rows: int, length: int, vocabulary: int, seed: int) -> list[list[int]]:
    """Returns `rows` sentences of random tokens: tokens, END, padding up to `length`.

    At most a quarter is padding, as where sentences of like length are batched together.
    """
    draws = random.Random(seed)
    sentences = []
    for _ in range(rows):
        tokens = draws.randint(length * 3 // 4, length) - 1
        sentence = [*draws.choices(range(UNKNOWN, vocabulary), k=tokens), END]
        sentences.append(sentence + [PAD] * (length - len(sentence)))
    return sentences


def draw_pairs(rows: int, length: int, vocabulary: int) -> tuple[list[list[int]], list[list[int]]]:
    """Returns sources of `length` tokens, and targets of one more, which begin with START."""
    sources, targets = (draw_sentences(rows, length, vocabulary, seed) for seed in (0, 1))
    return sources, [[START, *target] for target in targets]


def count_tokens(targets: list[list[int]]) -> int:
    """Returns how many tokens are to be predicted."""
    return sum(token != PAD for target in targets for token in target[1:])
