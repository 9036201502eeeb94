"""The record of a run of translation."""

from collections.abc import Mapping
from typing import Any

from netzoo.tasks.record import Column, Record

TRANSLATIONS_FILE = "translations.tsv"

_BLEU = "{bleu:.2f} ({bleu_interval[0]:.1f} to {bleu_interval[1]:.1f})"
_SCORES = {
    **{"bleu": float, "bleu_interval": [float, float], "bleu_signature": str},
    **{"chrf": float, "exact_match": float, "perplexity": (float, None)},
}
RECORD = Record(
    settings={},
    # `data.lengths` limits the length of translations.
    evaluated=(
        *("model.", "matmul_precision", "data.source", "data.lengths", "evaluation.beam_size"),
        *("evaluation.length_penalty", "evaluation.extra_length", "evaluation.bleu_tokenizer"),
    ),
    scores={
        **{name: (name, shape) for name, shape in _SCORES.items()},
        "num_examples": ("count", int),
    },
    score_columns=(
        Column("BLEU (95 % interval)", _BLEU.format_map),
        Column("chrF", "{chrf:.2f}".format_map),
        Column(
            "perplexity", lambda r: "-" if r["perplexity"] is None else f"{r['perplexity']:.2f}"
        ),
    ),
    rank="bleu",
    headline="BLEU {bleu:.2f}".format_map,
    examples="sentences",
    throughput_unit="tokens",
    throughput_title="tokens/s",
    files=(TRANSLATIONS_FILE,),
)


def record_of(fields: Mapping[str, Any]) -> Record:
    """Return the one kind of record that translation has."""
    del fields
    return RECORD
