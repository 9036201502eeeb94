"""Metrics of next-token predictions and of whole translations.

The metrics of labels follow from sums over a batch, without padding, computed on the device:

    loss_sum   float   sum of the cross-entropies of the labels, in nats, without label smoothing
    correct    int     labels that were most probable, given the true labels before them
    tokens     int     labels, including the end of each sentence
    count      int     sentences

sacrebleu computes the metrics that compare translations with references. Its signatures describe
the settings; scores with other signatures are not comparable.
"""

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

from netzoo.errors import UserError

_RESAMPLES = 1000
# Maps language codes of ISO 639-1 and 639-3, including Mandarin and Cantonese, to tokenizers.
_TOKENIZERS = {
    **dict.fromkeys(("zh", "zho", "chi", "cmn", "yue"), "zh"),
    **dict.fromkeys(("ja", "jpn"), "ja-mecab"),
    **dict.fromkeys(("ko", "kor"), "ko-mecab"),
    # Thai, Lao, Khmer, Burmese, Tibetan
    **dict.fromkeys(("th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bo", "bod"), "char"),
}


def metrics_from_sums(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the metrics of the report from the sums over a whole split.

    Returns:
      A JSON-serialisable dictionary: `loss` (mean over labels, nats), `perplexity` (e to the loss),
      `token_accuracy` (a fraction), `tokens` and `count`. A non-finite loss or perplexity is None,
      because JSON has no such number.

    Raises:
      ValueError: No sentence was evaluated, or the counts are inconsistent.
    """
    count, tokens, correct = (int(sums[name]) for name in ("count", "tokens", "correct"))
    if count < 1:
        raise ValueError("no sentence was evaluated: the split is empty")
    if not 0 <= correct <= tokens or tokens < count:  # the end of a sentence is also a label
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


def bleu_tokenizer(language: str | None) -> str:
    """Return the name of sacrebleu's tokenizer for a target language, such as `de` or `zh-CN`.

    Languages without spaces between words need their own tokenizer: with 13a, a sentence would
    count as one word, and a good translation would score 0.
    """
    code = re.split("[-_]", (language or "").lower())[0]
    return _TOKENIZERS.get(code, "13a")


def create_bleu(tokenizer: str, *, lowercase: bool = False) -> BLEU:
    """Return corpus BLEU with a tokenizer of sacrebleu.

    Raises:
      UserError: The libraries of the tokenizer are not installed.
    """
    try:
        return BLEU(tokenize=tokenizer, lowercase=lowercase)
    except (RuntimeError, ImportError) as error:
        advice = " ".join(str(error).split())
        raise UserError(
            f"BLEU's tokenizer {tokenizer} cannot be used: {advice} Or compare characters: "
            "--config.evaluation.bleu_tokenizer=char"
        ) from error


def corpus_scores(
    hypotheses: Sequence[str], references: Sequence[str], tokenizer: str = "13a"
) -> dict[str, Any]:
    """Score the translations of a whole split against references, as text.

    Returns:
      A JSON-serialisable dictionary. `bleu` and `bleu_lowercased` are corpus BLEU, 0 to 100, of the
      tokens of sacrebleu's `tokenizer` with and without regard to case. `bleu_interval` is [low,
      high], the 95 % interval of `bleu` over 1,000 bootstrap resamples of the sentences, as in
      `sacrebleu --confidence` (seed 12345 or the environment variable SACREBLEU_SEED). `chrf` is
      chrF2, 0 to 100. Publish the three `_signature`s with the scores. `exact_match` is the
      fraction of sentences that equal their reference.

    Raises:
      ValueError: No translation is given, or the number of references differs.

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
    bleu, chrf = create_bleu(tokenizer), CHRF()
    lowercased = create_bleu(tokenizer, lowercase=True)
    score = bleu.corpus_score(hypotheses, [references], n_bootstrap=_RESAMPLES)
    signature = str(bleu.get_signature())
    # The score object exposes its interval only as text, and has no interval for a mean of zero.
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
    """Clip a score to 0 to 100, which rounding and intervals may exceed."""
    return min(max(float(score), 0.0), 100.0)
