"""The record of a run of translation."""

from netzoo.tasks.record import Column, Record

TRANSLATIONS_FILE = "translations.tsv"

_BLEU = "{bleu:.2f} ({bleu_interval[0]:.1f} to {bleu_interval[1]:.1f})"
_SCORES = ("bleu", "bleu_interval", "bleu_signature", "chrf", "exact_match", "perplexity")
RECORD = Record(
    settings={},
    # `data.lengths` limits the length of translations.
    evaluated=(
        *("model.", "data.source", "data.lengths", "evaluation.beam_size"),
        *("evaluation.length_penalty", "evaluation.extra_length", "evaluation.bleu_tokenizer"),
    ),
    scores={**{name: name for name in _SCORES}, "num_examples": "count"},
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
