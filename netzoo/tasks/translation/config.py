"""The configuration keys of translation; see `netzoo.config.keys`."""

from netzoo.config import rules
from netzoo.config.keys import Key
from netzoo.config.rules import COUNT, SHARE, SWITCH, Rule, at_least, one_of

DEFAULTS = {
    "model.name": "transformer_tiny",
    "data.source": "number_words",  # or "parallel:FOLDER.{en,de}", "tfds:NAME.{en,de}"
    "train.batch_size": 4096,
    "train.label_smoothing": 0.1,
    "optimizer.b2": 0.98,
    "optimizer.epsilon": 1e-9,
    "schedule.name": "inverse_sqrt",
    "schedule.warmup_epochs": 1.0,
    "evaluation.batch_size": 4096,
}

_RISING = Rule(
    lambda x: all(map(rules.is_whole, x)) and [*x] == sorted({*x}) and min(x) >= 2,
    "increasing integers of at least 2",
)
_VARIANT = Rule(
    lambda x: len(x) == 5 and all(map(COUNT.holds, x[:4])) and SHARE.holds(x[4]),
    "(layers, width, MLP width, heads, dropout rate)",
)

KEYS = (
    Key("data.vocabulary", str, rules.PATH, "file of subwords; None: learn from the training text"),
    Key("data.vocabulary_size", 4000, at_least(8), "number of subwords, shared by both languages"),
    Key("data.lengths", (16, 32, 64), _RISING, "lengths to pad to; training skips longer pairs"),
    Key("data.row_multiple", 8, at_least(1), "divisor of the number of rows of every batch"),
    Key("evaluation.beam_size", 4, rules.within(1, 256), "hypotheses of the beam search"),
    Key("evaluation.length_penalty", 0.6, at_least(0), "alpha of Wu et al., arXiv:1609.08144"),
    Key(
        "evaluation.extra_length", 50, at_least(0), "maximum tokens beyond the padded source length"
    ),
    Key(
        "evaluation.bleu_tokenizer",
        str,
        one_of("13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores200", "none"),
        "tokenizer of sacrebleu for BLEU; None: by the target language",
    ),
)

BATCH_ROWS = "data.row_multiple"
# A run keeps its vocabulary, and training does not translate.
FREE = (
    *("data.vocabulary", "evaluation.beam_size", "evaluation.length_penalty"),
    *("evaluation.extra_length", "evaluation.bleu_tokenizer"),
)
LOCAL = ()

OPTIONS = {
    "variant": _VARIANT,
    "mlp_dropout_rate": SHARE,
    "norm_first": SWITCH,
    "share_embeddings": SWITCH,
    "final_norm": rules.or_none(SWITCH),
    "pad_id": rules.FROM_DATA,
}
