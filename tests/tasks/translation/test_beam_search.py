"""Beam search equals a plain search that decodes the whole target in every step."""

import functools
import itertools
import re

import chex
import jax
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.models.transformer import Transformer
from netzoo.tasks.translation.beam_search import SearchOptions, beam_search, most_probable
from tests.conftest import slow
from tests.models.small_transformer import SMALL, SOURCE, VOCABULARY, draw

PAD, START, END = 0, 1, 5  # an end token that this network often predicts
LENGTH = 7


@functools.cache
def network(vocabulary=VOCABULARY):
    """Return a network and variables with clear choices, which depend on the previous tokens."""
    model = Transformer(SMALL, vocabulary, share_embeddings=False)

    def change(path, leaf):
        names = {key.key for key in path}
        return leaf * (0 if "bias" in names else 2 if names & {"logits", "target_embedding"} else 1)

    return model, jax.tree_util.tree_map_with_path(change, draw(model))


def search(model, variables, source=SOURCE, **options):
    """Return the compiled search's beams."""
    options = SearchOptions(**{"beam_size": 3, "max_length": LENGTH, "end": END, **options})
    return jax.jit(lambda tree, x: beam_search(model, tree, x, options))(variables, source)


@functools.cache
def whole(vocabulary):
    """Return the compiled `log_probs[T, vocabulary]` of a source `[S]` and a target `[T]`."""
    model, variables = network(vocabulary)

    def log_probs(source, target):
        logits = model.apply(variables, source[None], target[None], train=False)
        return jax.nn.log_softmax(logits[0])

    return jax.jit(log_probs)


@pytest.mark.parametrize("classes", [3, 128, 300])
@pytest.mark.parametrize("count", [1, 4])
def test_the_most_probable_tokens_are_those_of_a_sort(classes, count):
    """Searching only the best blocks gives the same tokens, and ties go to the lower token."""
    logits = np.random.default_rng(0).integers(-2, 3, (5, 2, classes)).astype(np.float32)
    logits[0, 0] = 0  # all are equal
    expected = np.array(jax.nn.log_softmax(logits))
    expected[..., [PAD, START]] = -np.inf
    order = np.argsort(-expected, axis=-1, kind="stable")[..., :count]
    found, tokens = jax.jit(most_probable, static_argnums=(1, 2))(logits, count, (PAD, START))
    np.testing.assert_array_equal(tokens, order)
    # float32 sums of up to 300 exponentials, in another order.
    np.testing.assert_allclose(found, np.take_along_axis(expected, order, -1), rtol=1e-6)


class Plain:
    """Log probabilities of a sentence's next tokens, without a cache."""

    def __init__(self, source, max_length=LENGTH, vocabulary=VOCABULARY):
        self.max_length = max_length
        self.whole = functools.partial(whole(vocabulary), source)

    def __call__(self, tokens):
        """Return `{token: log probability}` of the tokens that may follow `tokens`."""
        target = np.zeros(self.max_length, np.int32)
        target[: len(tokens) + 1] = [START, *tokens]
        found = np.asarray(self.whole(target), np.float64)[len(tokens)]
        return {t: p for t, p in enumerate(found) if t not in (PAD, START)}


def score(log_prob, length, alpha):
    """Equation 14 of Wu et al., without its coverage."""
    return log_prob / ((5 + length) / 6) ** alpha


def plain_search(following, beam_size, alpha, n_best=1, *, stops=True):
    """Return `[(tokens, score)]`, best first, the ended before the others."""
    length = following.max_length
    beam = [((), 0.0)]

    def ended(tokens):
        return tokens[-1:] == (END,)

    def key(hypothesis):
        return score(hypothesis[1], len(hypothesis[0]), alpha)

    for _ in range(length):
        best = sorted((key(h) for h in beam if ended(h[0])), reverse=True)[:n_best]
        hopes = [score(h[1], length, alpha) for h in beam if not ended(h[0])]
        if not hopes or (stops and len(best) == n_best and best[-1] >= max(hopes)):
            break
        candidates = []
        for tokens, log_prob in beam:
            if ended(tokens):
                candidates.append((tokens, log_prob))
            else:
                more = following(tokens).items()
                candidates.extend(((*tokens, t), log_prob + p) for t, p in more)
        beam = sorted(candidates, key=lambda h: -h[1])[:beam_size]
    ranked = sorted(beam, key=lambda h: (not ended(h[0]), -key(h)))
    return [(h[0], key(h)) for h in ranked]


def texts(beams, sentence):
    """Return `[(tokens, score)]` of one sentence's hypotheses; nothing but padding may follow."""
    found = []
    for tokens, value, length in zip(
        *(x[sentence] for x in (beams.tokens, beams.scores, beams.lengths)), strict=True
    ):
        assert not tokens[length:].any()
        found.append((tuple(tokens[:length].tolist()), float(value)))
    return found


def assert_same(found, expected):
    """Assert equal tokens, and scores that are equal up to float32 rounding."""
    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose(
        [value for _, value in found], [value for _, value in expected], rtol=1e-5, atol=1e-5
    )


def test_one_beam_is_greedy():
    """Beam size 1 takes the most probable token every time."""
    model, variables = network()
    beams = search(model, variables, beam_size=1)
    lengths = set()
    for sentence, source in enumerate(SOURCE):
        following = Plain(source)
        tokens = ()
        while len(tokens) < LENGTH and tokens[-1:] != (END,):
            more = following(tokens)
            tokens += (max(more, key=more.get),)
        assert [found for found, _ in texts(beams, sentence)] == [tokens]
        assert bool(beams.ended[sentence, 0]) == (tokens[-1] == END)
        lengths.add(len(tokens))
    assert len(lengths) > 1, "sentences should end at different times"


@pytest.fixture
def growing(monkeypatch):
    """Make the cache start so short that it grows within `LENGTH`."""
    monkeypatch.setattr("netzoo.tasks.translation.beam_search.SHORTEST_CACHE", 2)


@pytest.mark.parametrize(("beam_size", "n_best"), [slow(2, 1), slow(4, 1), slow(4, 3), (4, 4)])
@pytest.mark.parametrize("alpha", [slow(0.0), 0.6])
def test_a_narrow_beam_is_the_plain_search(beam_size, n_best, alpha, growing):
    """All hypotheses, scores and orders are equal, and a longer search finds no better ones."""
    model, variables = network()
    beams = search(model, variables, beam_size=beam_size, length_penalty=alpha, n_best=n_best)
    for sentence, source in enumerate(SOURCE):
        following = Plain(source)
        found = texts(beams, sentence)
        assert_same(found, plain_search(following, beam_size, alpha, n_best))
        all_steps = plain_search(following, beam_size, alpha, stops=False)
        assert_same(found[:n_best], all_steps[:n_best])


@pytest.mark.slow
def test_wanted_hypotheses_are_finished():
    """Protects n-best lists: the search runs until each has ended or has the maximum length."""
    model, variables = network()

    def some_are_cut_off(n_best):
        beams = search(model, variables, beam_size=4, n_best=n_best)
        return (~beams.ended & (beams.lengths < LENGTH)).any()

    assert some_are_cut_off(1), "else this example shows nothing"
    assert not some_are_cut_off(4)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.6, 20.0])
def test_a_wide_beam_is_exact(alpha):
    """With more room than sequences, the first hypothesis is the best, and every score is right.

    A penalty that lets length win over probability does not let the search stop early.
    """
    model, variables = network(6)
    source = np.array([[3, 5, 4, 2], [4, 2, 0, 0]], np.int32)
    beams = search(model, variables, source, beam_size=130, max_length=4, length_penalty=alpha)
    for sentence, tokens in enumerate(source):
        scores = every_score(Plain(tokens, 4, vocabulary=6), alpha)
        ranked = sorted(scores, key=lambda t: (t[-1] != END, -scores[t]))
        found = [(t, value) for t, value in texts(beams, sentence) if t in scores]
        assert_same(found, [(t, scores[t]) for t in ranked if t in dict(found)])
        assert found[0][0] == texts(beams, sentence)[0][0] == ranked[0]
        assert alpha < 1 or len(found) == len(scores) == 121
        exists = np.isfinite(beams.scores[sentence])
        assert not exists.all() and exists[: exists.sum()].all()


def every_score(following, alpha):
    """Return the score of every sequence that ends or has the maximum length."""
    log_probs, scores = {(): 0.0}, {}
    for length in range(1, following.max_length + 1):
        for tokens in itertools.product((2, 3, 4), repeat=length - 1):
            for token, more in following(tokens).items():
                sequence = (*tokens, token)
                log_probs[sequence] = log_probs[tokens] + more
                if token == END or length == following.max_length:
                    scores[sequence] = score(log_probs[sequence], length, alpha)
    return scores


@pytest.mark.slow
def test_neighbours_change_nothing():
    """Other sentences of a batch do not change the hypotheses of a sentence."""
    model, variables = network()
    batch = np.concatenate([SOURCE, np.zeros((1, 5), np.int32)])
    together = search(model, variables, batch)
    for sentence, source in enumerate(SOURCE[:2]):
        alone = search(model, variables, source[source != PAD][None])
        assert_same(texts(together, sentence), texts(alone, 0))
    assert texts(together, len(SOURCE))[0] == ((), 0.0)


def test_rows_of_padding_cost_no_step():
    """Rows of padding are not translated: they would be the longest translations."""
    model, variables = network()
    beams = search(model, variables, np.zeros((2, 5), np.int32))
    assert not (beams.tokens.any() or beams.lengths.any() or beams.ended.any())


@pytest.mark.slow
def test_the_end():
    """The end occurs once, and padding and start never."""
    model, variables = network()
    for start, end in ((START, END), (3, 9)):
        beams = search(model, variables, beam_size=4, start=start, end=end)
        for sentence in range(len(SOURCE)):
            for (tokens, _), ended in zip(
                texts(beams, sentence), beams.ended[sentence], strict=True
            ):
                assert not {PAD, start} & set(tokens)
                assert tokens.count(end) == ended == (tokens[-1] == end)
        assert beams.ended.any()
        # Ended hypotheses come first, and both kinds are in order.
        order = np.lexsort((-beams.scores, ~beams.ended))
        np.testing.assert_array_equal(order, np.tile(np.arange(4), (len(SOURCE), 1)))


@pytest.mark.slow
def test_more_places_than_sequences():
    """Unused places follow the last sequence, without tokens and with score -inf."""
    model, variables = network()
    beams = search(model, variables, beam_size=12, max_length=1)
    chex.assert_shape(beams.tokens, (3, 12, 1))
    finite = np.isfinite(beams.scores)
    np.testing.assert_array_equal(finite, np.tile(np.arange(12) < 9, (3, 1)))
    assert {len({t for t, _ in texts(beams, sentence)}) for sentence in range(3)} == {9 + 1}
    assert not beams.tokens[~finite].any()


@pytest.mark.slow
class Compiled(chex.TestCase):
    """Results that do not depend on compilation."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_with_and_without(self):
        """The search is a pure function of variables and sentences."""
        model, variables = network()
        options = SearchOptions(max_length=3, beam_size=2, end=END)

        def run(variables, source):
            return beam_search(model, variables, source, options)

        beams = self.variant(run)(variables, SOURCE[:1])
        assert_same(texts(beams, 0), plain_search(Plain(SOURCE[0], 3), 2, 0.6))
        chex.assert_type(beams.scores, np.float32)
        chex.assert_type([beams.tokens, beams.lengths], np.int32)


def test_one_compilation_a_shape():
    """Sentences of one shape share a program, whatever their lengths and translations."""
    model, variables = network()
    options = SearchOptions(max_length=3, beam_size=2)
    run = jax.jit(lambda tree, x: beam_search(model, tree, x, options))
    for source in (SOURCE, SOURCE[::-1], np.zeros_like(SOURCE)):
        run(variables, source)
    assert run._cache_size() == 1


@pytest.mark.parametrize(
    "options", [{"beam_size": 0}, {"max_length": -1}, {"length_penalty": -0.6}, {"n_best": 5}]
)
def test_options_out_of_range(options):
    """Invalid options are errors with their values."""
    options = SearchOptions(**{"beam_size": 4, "max_length": 5, **options})
    with pytest.raises(UserError, match=re.escape(str(options))):
        beam_search(None, None, SOURCE, options)
