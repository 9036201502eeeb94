"""Tests of the translation metrics against numbers worked out by hand."""

import json
import math
import sys

import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.tasks.translation.metrics import (
    bleu_tokenizer,
    corpus_scores,
    create_bleu,
    metrics_from_sums,
)

SUMS = {"loss_sum": 30.0, "correct": 12, "tokens": 20, "count": 4}
KEYS = [
    *("bleu", "bleu_interval", "bleu_signature", "bleu_lowercased", "bleu_lowercased_signature"),
    *("chrf", "chrf_signature", "exact_match"),
]


def test_metrics_equal_hand_computed_values():
    """Protects the denominator: labels, not sentences."""
    assert metrics_from_sums(SUMS) == {
        "loss": 1.5,
        "perplexity": math.exp(1.5),
        "token_accuracy": 0.6,
        "tokens": 20,
        "count": 4,
    }


@pytest.mark.parametrize(
    ("loss_sum", "loss"), [(math.inf, None), (math.nan, None), (20_000.0, 1000.0)]
)
def test_what_is_not_finite_is_none_and_the_result_is_json(loss_sum, loss):
    """Protects reports of diverged runs: no NaN, and no overflow of the perplexity alone."""
    result = metrics_from_sums({**SUMS, "loss_sum": np.float64(loss_sum), "count": np.int64(4)})
    assert (result["loss"], result["perplexity"]) == (loss, None)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "no sentence was evaluated"),
        ({"count": 21}, "20 labels of 21 sentences"),
        ({"correct": 21}, "got 21 correct of 20"),
        ({"correct": -1}, "got -1 correct of 20"),
    ],
)
def test_contradictions_are_errors(change, message):
    """Protects against padding counted in one sum but not in another."""
    with pytest.raises(ValueError, match=message):
        metrics_from_sums({**SUMS, **change})


def test_equal_sentences_score_100():
    """Protects the upper end of every score, where rounding may lead beyond it."""
    sentences = ["A man rides a red bike.", "Two dogs are playing in the snow."]
    scores = corpus_scores(sentences, sentences)
    assert list(scores) == KEYS
    assert [scores[name] for name in ("bleu", "bleu_lowercased", "chrf")] == [100.0] * 3
    assert (scores["bleu_interval"], scores["exact_match"]) == ([100.0, 100.0], 1.0)


def test_bleu_equals_a_hand_computed_value():
    """Protects corpus BLEU and its tokens: the comma and the full stop count as words.

    The translation has 8 of 8 tokens, 6 of 7 pairs, 4 of 6 triples and 2 of 5 quadruples right, and
    is one token shorter than the reference.
    """
    hypothesis, reference = "a man rides, the red bike.", "a man rides, the big red bike."
    precisions = 8 / 8 * 6 / 7 * 4 / 6 * 2 / 5
    expected = 100 * math.exp(1 - 9 / 8) * precisions**0.25
    scores = corpus_scores([hypothesis], [reference])
    assert scores["bleu"] == pytest.approx(expected)
    # Every resample of one sentence is that sentence.
    assert scores["bleu_interval"] == pytest.approx([expected, expected], abs=1e-5)


def test_counts_are_added_up_before_the_score():
    """Protects corpus BLEU from being a mean over sentences: 4 of 4 and 0 of 4, not 50."""
    scores = corpus_scores(["a b c d", "e f g h"], ["a b c d", "i j k l"])
    expected = 100 * (4 / 8 * 3 / 6 * 2 / 4 * 1 / 2) ** 0.25
    assert scores["bleu"] == pytest.approx(expected)
    assert scores["exact_match"] == 0.5
    low, high = scores["bleu_interval"]
    assert low < 1 and high > 99, "a resample may hold one sentence twice"


def test_chrf_equals_a_hand_computed_value():
    """Protects chrF2: spaces do not count, recall counts four times as much as precision.

    For "abc" and the reference "ab d", 2 of 3 characters, 1 of 2 pairs and no triples are right.
    """
    precision = recall = (2 / 3 + 1 / 2 + 0) / 3
    f_score = 5 * precision * recall / (4 * precision + recall)
    assert corpus_scores(["abc"], ["ab d"])["chrf"] == pytest.approx(100 * f_score)
    # Three of the four expected characters: precision 1 for every order, lower recall.
    precision, recall = 1.0, (3 / 4 + 2 / 3 + 1 / 2) / 3
    f_score = 5 * precision * recall / (4 * precision + recall)
    assert corpus_scores(["abc"], ["abcd"])["chrf"] == pytest.approx(100 * f_score)


def test_case_counts_in_one_bleu_only():
    """Protects the two BLEU scores from being swapped; their signatures differ in case."""
    scores = corpus_scores(["EIN HUND LÄUFT DURCH"], ["Ein Hund läuft durch"])
    assert (scores["bleu"], scores["bleu_lowercased"], scores["exact_match"]) == (0.0, 100.0, 0.0)
    assert scores["bleu_interval"] == [0.0, 0.0]
    assert "case:mixed" in scores["bleu_signature"] and "bs:1000" in scores["bleu_signature"]
    assert "case:lc" in scores["bleu_lowercased_signature"]
    for name in ("bleu_signature", "bleu_lowercased_signature"):
        assert "tok:13a" in scores[name]
    assert "nc:6|nw:0" in scores["chrf_signature"]


def test_the_interval_surrounds_the_score_and_is_the_same_again():
    """Protects reproducible records, JSON output, and a model with one empty translation."""
    references = [f"the {i} dogs of number {i} run" for i in range(20)]
    hypotheses = [*(text.replace("1", "9") for text in references[:-1]), ""]
    scores = corpus_scores(hypotheses, references)
    low, high = scores["bleu_interval"]
    assert 0 < low < scores["bleu"] < high < 100
    assert corpus_scores(hypotheses, references) == scores
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


@pytest.mark.parametrize(("hypotheses", "references"), [(["a"], ["a", "b"]), ([], [])])
def test_sentences_without_a_partner_are_errors(hypotheses, references):
    """Protects against scores of misaligned sentences or of no sentences."""
    with pytest.raises(ValueError, match=f"got {len(hypotheses)} translations and"):
        corpus_scores(hypotheses, references)


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [
        *(("zh", "zh"), ("zh-CN", "zh"), ("zh_Hant", "zh"), ("ZHO", "zh"), ("ja", "ja-mecab")),
        *(("ko", "ko-mecab"), ("th", "char"), ("de", "13a"), ("zhx", "13a"), (None, "13a")),
    ],
)
def test_the_target_language_decides_the_tokenizer(language, tokenizer):
    """Protects scores of languages without spaces, also under names with a region or a script."""
    assert bleu_tokenizer(language) == tokenizer


def test_chinese_is_divided_into_words():
    """Protects Chinese: 13a counts each sentence as one word, and scores near-perfect ones 0."""
    hypotheses = ["我喜欢红色的花", "他在公园里跑步", "今天天气很好"]
    references = ["我喜欢红花", "他在公园跑步", "今天天气非常好"]
    assert corpus_scores(hypotheses, references)["bleu"] == 0
    scores = corpus_scores(hypotheses, references, "zh")
    assert scores["bleu"] == pytest.approx(48.428187194879726)
    assert "tok:zh" in scores["bleu_signature"] and "tok:zh" in scores["bleu_lowercased_signature"]


def test_a_tokenizer_that_is_not_installed_is_named(monkeypatch):
    """Protects users from an error about a missing library after an hour of translating."""
    monkeypatch.setitem(sys.modules, "MeCab", None)
    with pytest.raises(UserError, match=r"ja-mecab .*sacrebleu\[ja\].*bleu_tokenizer=char"):
        create_bleu("ja-mecab")
