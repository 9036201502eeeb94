"""Sentences of lessons, and what heads look at."""

import jax
import numpy as np
import pytest

from netzoo import train
from netzoo.teaching import Setting
from netzoo.teaching.sentences import Attention, Sentences, entropy
from netzoo.workdir.checkpoint import restore_variables
from tests.conftest import tiny_translation_config


@pytest.fixture(scope="module")
def sentences():
    return Sentences(Setting(quick=True, source="number_words"))


@pytest.fixture(scope="module")
def start(sentences):
    return sentences.initial_variables()


def test_entropy_is_in_bits():
    np.testing.assert_allclose(entropy(np.array([[0.25] * 4, [1, 0, 0, 0]])), [2, 0], atol=1e-12)


def test_numbers_of_heads_have_known_values():
    """Four tokens; block 1 has heads that look at themselves and at all, block 2 equal heads."""
    own, every = np.eye(4), np.full((4, 4), 0.25)
    shares = np.array([[own, every + 0.0], [own[::-1], own[::-1]]])
    rows = np.array([*"abcd"])
    found = Attention(shares, np.arange(4), shares, rows, rows)
    np.testing.assert_allclose(found.looked_at(), [[1, 4], [1, 1]])
    mixture = -(0.625 * np.log2(0.625) + 3 * 0.125 * np.log2(0.125))
    np.testing.assert_allclose(found.difference(), [mixture - (0 + 2) / 2, 0])
    with np.errstate(invalid="ignore"):  # a head that looks at all alike follows nothing
        follows = found.follows()
    np.testing.assert_allclose(follows[:, 0], [1, -1])


def test_attention_shows_sentences_without_padding(sentences, start):
    """Shares sum to 1, the decoder sees no later token, and maps have a text for each place."""
    found = sentences.attention(start)
    assert set(found) == {"encoder", "decoder", "cross"}
    for kind, heads in found.items():
        np.testing.assert_allclose(heads.shares.sum(-1), 1, atol=1e-5)
        np.testing.assert_allclose(heads.longest.sum(-1), 1, atol=1e-5)  # none on padding
        assert heads.longest.shape[2:] == (len(heads.rows), len(heads.columns)), kind
    decoder, cross = found["decoder"], found["cross"]
    assert np.triu(decoder.longest[0, 0], 1).max() == 0
    assert decoder.columns[0] == "<s>" and decoder.rows[-1] == cross.columns[-1] == "</s>"
    assert decoder.rows[:-1].tolist() == decoder.columns[1:].tolist()


def test_without_scaling_products_are_larger_by_the_root_of_the_head(sentences, start):
    """With heads of 16, differences between the logarithms of shares grow 4 times."""
    networks = start, sentences.without_scaling(start)
    scaled, unscaled = (np.log(sentences.attention(x)["encoder"].longest[0]) for x in networks)
    scaled, unscaled = (x - x.mean(-1, keepdims=True) for x in (scaled, unscaled))
    np.testing.assert_allclose(unscaled, 4 * scaled, atol=1e-3)
    assert np.abs(scaled).max() > 0.1


def test_only_position_encoding_shows_the_order(sentences, start):
    bare, told = (sentences.reorder(start, positions=x) for x in (False, True))
    assert bare.change < 5e-6 < 0.1 < told.change  # float32 rounds sums in another order
    equal = bare.rows[:, None] == bare.columns
    assert equal.sum() > len(bare.rows)  # a word occurs twice
    np.testing.assert_allclose(bare.cosines[equal], 1, atol=1e-5)
    assert told.cosines[equal].min() < 0.99 and bare.cosines[~equal].max() < 0.99


@pytest.mark.slow
def test_training_and_translation(sentences):
    """The loss falls, changed variables change it, and BLEU is 0 to 100 for each beam."""
    plain = sentences.fit(20, watch=lambda variables: {"finite": 1.0}, watch_every=10)
    assert plain.loss[-1] < 0.9 * plain.loss[0] and plain.watched_steps.tolist() == [0, 10, 20]
    changed = sentences.fit(1, change=sentences.without_scaling)
    assert abs(changed.loss[0] - plain.loss[0]) > 1e-4
    assert abs(sentences.fit(1, seed=1).loss[0] - plain.loss[0]) > 1e-4
    scores = sentences.bleu(plain.variables, beams=(1, 2))
    assert set(scores) == {"1", "2"} and all(0 <= score <= 100 for score in scores.values())


@pytest.mark.slow
def test_the_source_may_be_a_run(tmp_path):
    """A run brings its network, its vocabulary and its last weights."""
    config = tiny_translation_config()
    config.train.epochs = 1
    config.evaluation.every_epochs = 1
    train(config, tmp_path / "run")
    found = Sentences(Setting(quick=False, source=str(tmp_path / "run")))
    expected = restore_variables(tmp_path / "run")[2]
    jax.tree.map(np.testing.assert_array_equal, found.trained, expected)
    heads = found.attention(found.trained)["cross"]
    assert heads.shares.shape[:2] == (1, 2)  # blocks and heads of `tiny_translation_config`


@pytest.mark.slow
def test_the_full_form_has_the_network_and_the_data_of_the_quickstart():
    sentences = Sentences(Setting(quick=False, source="number_words"))
    found = sentences.attention(sentences.initial_variables())
    assert found["cross"].shares.shape[:2] == (2, 4)  # blocks and heads
    assert len(found["encoder"].rows) == 12  # the longest sentence of the quickstart
