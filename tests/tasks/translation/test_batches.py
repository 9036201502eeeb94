"""Batches of sentence pairs: contents, coverage, determinism, resuming, sharding."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.tasks.translation.batches import (
    MOST_TOKENS,
    Buckets,
    Corpus,
    EvalBatches,
    Ragged,
    TrainBatches,
)
from netzoo.tasks.translation.sources import read_pairs
from netzoo.tasks.translation.vocabulary import END, PAD, START, Vocabulary

BUCKETS = Buckets((4, 9, 16), batch_tokens=40, row_multiple=2)
ROWS = {4: 10, 9: 4, 16: 2}
# Of the 60 pairs of `corpus`, 12, 15 and 21 are in the buckets and 12 are longer than 16.
FITTING, STEPS = 48, 2 + 4 + 11


FIRST_TOKEN = 4


def corpus_of(lengths, seed: int = 0) -> Corpus:
    """A corpus whose pair i has the length `lengths[i]` and only the token `FIRST_TOKEN + i`.

    A randomly chosen side has that length; the other side is shorter or empty.
    """
    rng = np.random.default_rng(seed)
    sides = [[], []]
    for index, length in enumerate(lengths):
        longer = rng.integers(2)
        sides[longer].append([FIRST_TOKEN + index] * (length - 1))
        sides[1 - longer].append([FIRST_TOKEN + index] * rng.integers(length))
    return Corpus(Ragged.of(sides[0]), Ragged.of(sides[1]))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """60 pairs in mixed order: six of length 2, three each of lengths 3 to 20."""
    lengths = np.maximum(np.repeat(np.arange(1, 21), 3), 2)
    return corpus_of(np.random.default_rng(1).permutation(lengths))


def train(corpus, buckets=BUCKETS, **changes):
    return TrainBatches(corpus, buckets, **{"seed": 5, **changes})


def take(dataset, count):
    return list(itertools.islice(iter(dataset), count))


def digest(batches):
    return [tuple((name, b[name].tobytes()) for name in sorted(b)) for b in batches]


def real_rows(batch):
    """Return which rows hold a pair, by the start of their target."""
    return batch["target"][:, 0] == START


def check_rows(corpus, batches):
    """Assert that every row is exactly its pair, or padding; return the pairs' indices."""
    seen = []
    for batch in batches:
        length = batch["source"].shape[1]
        assert batch["target"].shape[1] == length + 1
        for source, target in zip(batch["source"], batch["target"], strict=True):
            if target[0] != START:
                assert source.tolist() == [END] + [PAD] * (length - 1)
                assert not target.any()
                continue
            index = max(source.max(), target.max()) - FIRST_TOKEN
            a, b = corpus.source[index], corpus.target[index]
            assert source.tolist() == [*a, END] + [PAD] * (length - len(a) - 1)
            assert target.tolist() == [START, *b, END] + [PAD] * (length - len(b) - 1)
            seen.append(index)
    return seen


def test_batch_contract(corpus):
    """Batches have the shapes and dtypes of the compiled step, one shape per bucket."""
    batches = take(train(corpus), 2 * STEPS)
    for batch in batches:
        rows, length = batch["source"].shape
        assert ROWS[length] == rows
        assert batch["target"].shape == (rows, length + 1) and batch["weight"].shape == (rows,)
        assert (batch["source"].dtype, batch["target"].dtype) == (np.int32, np.int32)
        assert batch["weight"].dtype == np.float32
        assert set(batch) == {"source", "target", "weight"}
    assert {b["source"].shape for b in batches} == {(10, 4), (4, 9), (2, 16)}


def test_epochs_have_every_pair_exactly_once(corpus):
    """Each pair that fits occurs once per epoch, in the smallest bucket that holds it."""
    assert {length: BUCKETS.rows(length) for length in BUCKETS.lengths} == ROWS
    assert BUCKETS.steps(corpus) == STEPS and BUCKETS.left_out(corpus) == 60 - FITTING
    batches = take(train(corpus), 3 * STEPS)
    for first in (0, STEPS, 2 * STEPS):
        epoch = batches[first : first + STEPS]
        seen = check_rows(corpus, epoch)
        assert sorted(seen) == np.flatnonzero(corpus.lengths <= 16).tolist()
        for batch in epoch:
            length = batch["source"].shape[1]
            lengths = corpus.lengths[check_rows(corpus, [batch])]
            assert (lengths <= length).all()
            assert (lengths > {4: 0, 9: 4, 16: 9}[length]).all()


def test_epochs_differ_in_batches_and_their_order(corpus):
    """Batches contain different pairs in each epoch, and the buckets are mixed."""
    batches = take(train(corpus), 2 * STEPS)
    epochs = [batches[:STEPS], batches[STEPS:]]
    shapes = [[b["source"].shape[1] for b in epoch] for epoch in epochs]
    assert shapes[0] != shapes[1]
    assert sorted(shapes[0]) == sorted(shapes[1]) and sorted(shapes[0]) not in shapes
    together = [{frozenset(check_rows(corpus, [b])) for b in epoch} for epoch in epochs]
    assert len(together[0] & together[1]) < STEPS // 2


def test_seed_decides_everything(corpus):
    """Equal seeds give equal bytes; other seeds give another order, also in the next epoch."""
    assert digest(take(train(corpus), 9)) == digest(take(train(corpus), 9))
    orders = [check_rows(corpus, take(train(corpus, seed=s), 2 * STEPS)) for s in range(3)]
    epochs = {tuple(order[part : part + FITTING]) for order in orders for part in (0, FITTING)}
    assert len(epochs) == 6


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_threads_change_nothing(corpus, threads):
    """The number of threads does not change the data."""
    batches = take(train(corpus, num_threads=threads), 20)
    assert digest(batches) == digest(take(train(corpus), 20))


@pytest.mark.parametrize("stop", [0, 1, STEPS - 1, STEPS, STEPS + 3])
def test_resume_continues_exactly(corpus, stop):
    """A restored position continues with the same batches as an uninterrupted run."""
    whole = digest(take(train(corpus), 2 * STEPS))
    iterator = iter(train(corpus))
    for _ in range(stop):
        next(iterator)
    state = iterator.get_state()
    assert state == {"next_index": stop}
    resumed = iter(train(corpus, num_threads=1))
    resumed.set_state(state)
    assert digest(itertools.islice(resumed, 2 * STEPS - stop)) == whole[stop:]


def test_weighted_mean_is_the_mean_over_labels(corpus):
    """Each label has the same weight for any number of padding rows."""
    rng = np.random.default_rng(0)
    for batch in take(train(corpus), STEPS):
        labels = batch["target"][:, 1:]
        losses = np.where(labels != PAD, rng.random(labels.shape), 0)
        assert len(set(batch["weight"])) == 1
        weighted = (batch["weight"] * losses.sum(axis=1)).mean()
        np.testing.assert_allclose(weighted, losses[labels != PAD].mean(), rtol=1e-6)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_the_same_batch(corpus, count):
    """The rows of all hosts equal the batch of a single host, including weights."""
    buckets = replace(BUCKETS, row_multiple=4)
    whole = take(train(corpus, buckets), STEPS)
    parts = [take(train(corpus, buckets, shard=(i, count)), STEPS) for i in range(count)]
    for step, batch in enumerate(whole):
        for name, array in batch.items():
            joined = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(joined, array)


@pytest.mark.parametrize("row_multiple", [1, 3, 8, 100])
def test_rows_divide_over_devices(row_multiple):
    """The number of rows is a multiple, limited by the tokens, and at least one multiple."""
    buckets = Buckets((16, 24, 96, 4000), 4096, row_multiple)
    for length in buckets.lengths:
        rows = buckets.rows(length)
        assert rows % row_multiple == 0 and rows > 0
        assert rows * length <= 4096 or rows == row_multiple
        assert (rows + row_multiple) * length > 4096


@pytest.mark.parametrize("batch_tokens", [1, 40, 1000])
def test_evaluation_is_exact(corpus, batch_tokens):
    """Evaluation has every pair once, including those too long for training, and a mask."""
    batches = EvalBatches(corpus, replace(BUCKETS, batch_tokens=batch_tokens))
    for _ in range(2):  # it can be iterated again
        found = list(batches)
        assert len(found) == len(batches)
        assert sorted(check_rows(corpus, found)) == list(range(60))
        for batch in found:
            np.testing.assert_array_equal(batch["mask"], real_rows(batch))
            assert batch["mask"].dtype == bool
    # Few shapes, so that evaluation compiles few times: pairs of up to 20 need one bucket more.
    assert {b["source"].shape[1] for b in found} == {4, 9, 16, 32}
    assert len({b["source"].shape for b in found}) == 4


@pytest.mark.parametrize("length", [16, 17, 32, 33, 100])
def test_long_pairs_go_into_multiples(length):
    """No pair is lost to evaluation, and empty buckets make no batches."""
    (batch,) = EvalBatches(corpus_of([length]), BUCKETS)
    assert batch["source"].shape[1] == -(-length // 16) * 16
    assert batch["mask"].sum() == 1


@pytest.mark.parametrize("limit", [1, 7, 60, 1000])
def test_limit_is_evenly_spaced(corpus, limit):
    """A quick evaluation sees the whole corpus, not its beginning."""
    chosen = sorted(check_rows(corpus, EvalBatches(corpus, BUCKETS, limit=limit)))
    assert len(chosen) == min(limit, 60) and chosen[0] == 0
    gaps = np.diff([*chosen, 60])
    assert gaps.max() - gaps.min() <= 1


def test_evaluation_is_shared_by_processes(corpus):
    """The rows of all hosts together are the batch of one host."""
    whole = list(EvalBatches(corpus, BUCKETS))
    parts = [list(EvalBatches(corpus, BUCKETS, shard=(i, 2))) for i in range(2)]
    for step, batch in enumerate(whole):
        for name, array in batch.items():
            joined = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(joined, array)


def test_nothing_to_evaluate():
    """An empty corpus has no batches."""
    assert list(EvalBatches(corpus_of([]), BUCKETS)) == []


def test_no_pair_that_fits_is_an_error(corpus):
    """The error comes before the first batch and states the length."""
    with pytest.raises(UserError, match="none of the 60 pairs has at most 1 tokens"):
        train(corpus, replace(BUCKETS, lengths=(1,)))


def test_corpus_is_the_encoded_source():
    """The tokens of a row decode to the sentences of its pair."""
    pairs = read_pairs("number_words", "validation[:20]")
    vocabulary = Vocabulary.learn((text for pair in pairs for text in pair), size=60)
    corpus = Corpus.encode(pairs, vocabulary)
    assert len(corpus) == 20
    seen = [
        (vocabulary.decode(source), vocabulary.decode(target))
        for batch in EvalBatches(corpus, Buckets((8, 16), batch_tokens=64, row_multiple=1))
        for source, target in zip(batch["source"], batch["target"], strict=True)
        if target[0] == START
    ]
    assert sorted(seen) == sorted(pairs)


def test_a_pair_of_endless_text_is_refused_where_it_is_evaluated():
    """Protects memory from sentences that only evaluation would include."""
    long = corpus_of([5, MOST_TOKENS, MOST_TOKENS + 1, 5])
    message = rf"pair 3 has {MOST_TOKENS:,} tokens on a side; expected at most {MOST_TOKENS - 1:,}"
    with pytest.raises(UserError, match=message):
        EvalBatches(long, BUCKETS)
    assert len(EvalBatches(corpus_of([5, MOST_TOKENS]), BUCKETS)) == 2
    assert EvalBatches(long, BUCKETS, limit=1)
