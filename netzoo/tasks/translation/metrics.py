"""Metrics of translation: of labels, given the labels before them, and of whole sentences.

The metrics of labels come from sums over a batch that the device makes, without padding:

    loss_sum   float   sum of the cross-entropies of the labels, in nats, without label smoothing
    correct    int     labels that were the most probable ones, after the true labels before them
    tokens     int     labels, each sentence's end included
    count      int     sentences

The metrics of sentences compare translations with references. sacrebleu computes them, and its
signatures say how: scores of another recipe are not comparable.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

_RESAMPLES = 1000


def metrics_from_sums(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Turns the sums described above, over a whole split, into the metrics of the report.

    Returns:
      A JSON-serialisable dictionary: `loss` (mean over labels, nats), `perplexity` (e to the
      loss), `token_accuracy` (a fraction), `tokens` and `count`. A loss or perplexity that is not
      finite is None, since JSON has no such number.

    Raises:
      ValueError: Nothing was evaluated, or the counts contradict each other.
    """
    count, tokens, correct = (int(sums[name]) for name in ("count", "tokens", "correct"))
    if count < 1:
        raise ValueError("no sentence was evaluated: the split is empty or everything was masked")
    if not 0 <= correct <= tokens or tokens < count:  # a sentence's end is a label too
        raise ValueError(
            f"expected correct <= tokens >= count, got {correct} correct of {tokens} labels of "
            f"{count} sentences"
        )
    loss = float(sums["loss_sum"]) / tokens
    return {
        "loss": loss if math.isfinite(loss) else None,
        "perplexity": math.exp(loss) if loss < math.log(sys.float_info.max) else None,
        "token_accuracy": correct / tokens,
        "tokens": tokens,
        "count": count,
    }


def corpus_scores(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """Scores the translations of a whole split, as text and not as tokens, against references.

    Returns:
      A JSON-serialisable dictionary. `bleu` and `bleu_lowercased` are corpus BLEU, 0 to 100, of
      sacrebleu's 13a tokens with and without regard to case. `bleu_interval` is [low, high], the
      95 % interval of `bleu` over 1,000 bootstrap resamples of the sentences, as `sacrebleu
      --confidence` gives it (seed 12345, or SACREBLEU_SEED in the environment). `chrf` is chrF2,
      0 to 100. The three `_signature`s belong beside the scores wherever they are published.
      `exact_match` is the fraction of sentences that equal their reference.

    Raises:
      ValueError: There is no translation, or not one reference for each.

    Source: Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL
      2002; Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015; Post,
      "A Call for Clarity in Reporting BLEU Scores", arXiv:1804.08771; the interval: Koehn,
      "Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004.
    """
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"expected one reference for each translation and at least one, got "
            f"{len(hypotheses)} translations and {len(references)} references"
        )
    bleu, lowercased, chrf = BLEU(tokenize="13a"), BLEU(tokenize="13a", lowercase=True), CHRF()
    score = bleu.corpus_score(hypotheses, [references], n_bootstrap=_RESAMPLES)
    signature = str(bleu.get_signature())
    # The score object tells its interval only when it is printed, and a mean of zero not even then.
    shown = json.loads(score.format(width=6, signature=signature, is_json=True))
    mean, half = shown.get("confidence_mean", 0.0), shown.get("confidence_var", 0.0)
    return {
        "bleu": _clip(score.score),
        "bleu_interval": [_clip(mean - half), _clip(mean + half)],
        "bleu_signature": signature,
        "bleu_lowercased": _clip(lowercased.corpus_score(hypotheses, [references]).score),
        "bleu_lowercased_signature": str(lowercased.get_signature()),
        "chrf": _clip(chrf.corpus_score(hypotheses, [references]).score),
        "chrf_signature": str(chrf.get_signature()),
        "exact_match": sum(map(str.__eq__, hypotheses, references)) / len(references),
    }


def _clip(score: float) -> float:
    """Limits a score to 0 to 100: rounding and intervals may lead beyond."""
    return min(max(float(score), 0.0), 100.0)
