"""Translates sentences with the weights of a run."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from rich.console import Console

from netzoo.config import validate
from netzoo.data.text.parallel import decode_lines
from netzoo.data.text.vocabulary import Vocabulary
from netzoo.errors import UserError
from netzoo.evaluation.attention_figure import attention_picture
from netzoo.inference.outputs import check_writable
from netzoo.tasks.network import create_network
from netzoo.tasks.translation import VOCABULARY_FILE
from netzoo.tasks.translator import Hypothesis, Translator
from netzoo.workdir.checkpoint import load_weights

MOST_PICTURED = 12


def translate(
    config: ConfigDict,
    workdir: Path,
    sentences: Sequence[str],
    *,
    which: str = "last",
    n_best: int = 1,
    as_json: bool = False,
    picture: str | None = None,
    input_file: str | None = None,
    output_file: str | None = None,
) -> int:
    """Translates sentences and the lines of a file, and prints or writes a line for each.

    Args:
      config: The configuration of the run; `evaluation` says how the beam search goes.
      workdir: The run folder.
      sentences: In the source language. The translation of a blank one is empty.
      which: `"last"`, `"best"` or `"average"` checkpoint.
      n_best: Translations of each sentence; with more than one a line is the score and the text.
      as_json: A JSON list `[{"source": ..., "translations": [{"text": ..., "score": ...}]}]`.
      picture: Where to write a PNG of where the decoder looked in the first sentences, if anywhere.
      input_file: UTF-8 text with a sentence a line, plain or `.gz`, `-` for standard input.
      output_file: Where to write instead of standard output.

    Returns:
      The exit status 0.

    Raises:
      UserError: There is no sentence, more translations are wanted than the beam has, the run
        cannot be read, or a file cannot be written where it is wanted.
    """
    validate(config)
    if n_best > config.evaluation.beam_size:
        raise UserError(
            f"{n_best} translations of a sentence are wanted, and evaluation.beam_size is "
            f"{config.evaluation.beam_size}; add --config.evaluation.beam_size={n_best}"
        )
    check_writable(output_file, picture)
    sentences = [*sentences, *(_lines(input_file) if input_file else ())]
    if not sentences or (picture and not any(map(str.strip, sentences))):
        raise UserError("no sentence; give some as arguments, or --input FILE")
    vocabulary = Vocabulary.load(workdir / VOCABULARY_FILE)
    _, _, variables = load_weights(workdir, which)
    model = create_network(config, len(vocabulary))
    translator = Translator(config, model, jax.device_put(variables), vocabulary, n_best)
    errors = Console(stderr=True)
    found, seconds = translator.translate(sentences, "translating", errors)
    translations = [row[:n_best] for row in found]
    text = _json(sentences, translations) if as_json else _text(translations, n_best > 1)
    if output_file:
        Path(output_file).write_text(text, encoding="utf-8")
    else:
        print(text, end="", flush=True)
    if picture:
        best = [row[0] for row in translations]
        examples = translator.attention(sentences, best, MOST_PICTURED)
        attention_picture(examples, picture, f"{config.model.name}: where the decoder looked")
    written = ", ".join(filter(None, (output_file, picture)))
    count = len(sentences)
    errors.print(
        f"{count:,} sentence{'s'[: count > 1]} in {seconds:.1f} s, {count / seconds:,.1f} "
        "sentences/s" + (f"; written: {written}" if written else ""),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return 0


def _lines(path: str) -> list[str]:
    if path == "-":
        return decode_lines(sys.stdin.buffer.read(), "standard input")
    return decode_lines(Path(path).read_bytes(), path)


def _text(translations: Sequence[Sequence[Hypothesis]], with_scores: bool) -> str:
    return "".join(
        f"{found.score:.4f}\t{found.text}\n" if with_scores else f"{found.text}\n"
        for row in translations
        for found in row
    )


def _json(sentences: Sequence[str], translations: Sequence[Sequence[Hypothesis]]) -> str:
    rows: list[dict[str, Any]] = [
        {
            "source": sentence,
            "translations": [{"text": found.text, "score": found.score} for found in row],
        }
        for sentence, row in zip(sentences, translations, strict=True)
    ]
    return json.dumps(rows, ensure_ascii=False) + "\n"
