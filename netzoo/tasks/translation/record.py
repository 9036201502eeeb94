"""What is kept of a run of translation."""

from collections.abc import Mapping
from typing import Any

from netzoo.tasks.record import Column, Record

TRANSLATIONS_FILE = "translations.tsv"


def _bleu(record: Mapping[str, Any]) -> str:
    lower, upper = record["bleu_interval"]
    return f"{record['bleu']:.2f} ({lower:.1f} to {upper:.1f})"


def _perplexity(record: Mapping[str, Any]) -> str:
    perplexity = record["perplexity"]
    return "-" if perplexity is None else f"{perplexity:.2f}"


_SCORES = ("bleu", "bleu_interval", "bleu_signature", "chrf", "exact_match", "perplexity")
RECORD = Record(
    settings={},
    scores={**{name: name for name in _SCORES}, "num_examples": "count"},
    score_columns=(
        Column("BLEU (95 % interval)", _bleu),
        Column("chrF", lambda record: f"{record['chrf']:.2f}"),
        Column("perplexity", _perplexity),
    ),
    rank="bleu",
    headline=lambda record: f"BLEU {record['bleu']:.2f}",
    examples="sentences",
    throughput_unit="tokens",
    throughput_title="tokens/s",
    files=(TRANSLATIONS_FILE,),
)
