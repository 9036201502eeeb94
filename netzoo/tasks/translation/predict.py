"""Translates sentences with the weights of a run."""

import contextlib
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import jax
from ml_collections import ConfigDict
from rich.console import Console

from netzoo.config import validate
from netzoo.errors import UserError
from netzoo.tasks.network import create_network
from netzoo.tasks.translation.figures import MOST_PIECES, MOST_SENTENCES, attention_figure
from netzoo.tasks.translation.sources import decode_lines
from netzoo.tasks.translation.task import VOCABULARY_FILE
from netzoo.tasks.translation.translator import Hypothesis, Translator
from netzoo.tasks.translation.vocabulary import UNKNOWN, Vocabulary
from netzoo.workdir.checkpoint import restore_variables
from netzoo.workdir.outputs import check_writable

# Translated, and written, together: enough for full batches of every length.
SENTENCES_AT_A_TIME = 4096


def translate(
    config: ConfigDict,
    workdir: Path,
    sentences: Sequence[str],
    *,
    which: str = "last",
    n_best: int = 1,
    as_json: bool = False,
    figure: str | None = None,
    input_file: str | None = None,
    output_file: str | None = None,
) -> int:
    """Translates sentences and then the lines of a file, and writes a line for each.

    What is done is written every `SENTENCES_AT_A_TIME` sentences. Standard error says how far it
    is, how fast it went, and of how many sentences the network may not make much.

    Args:
      config: The configuration of the run; `evaluation` says how the beam search goes.
      workdir: The run folder.
      sentences: In the source language. The translation of a blank one is empty.
      which: `"last"`, `"best"` or `"average"` checkpoint.
      n_best: Translations of each sentence; with more than one there is a line for each, of the
        sentence's number from 1, the score and the text, with tabs between.
      as_json: A JSON list `[{"source": ..., "translations": [{"text": ..., "score": ...}]}]`.
      figure: Where to write a PNG of where the decoder looked in the first sentences, if anywhere.
      input_file: UTF-8 text with a sentence a line, plain or gzip, `-` for standard input.
      output_file: Where to write instead of standard output, in UTF-8; gzip if it ends in `.gz`.

    Returns:
      The exit status: 0, or 1 if there is no sentence that can be drawn.

    Raises:
      UserError: There is no sentence, one is no text or too long, more translations are wanted than
        the beam has, the run cannot be read, or a file cannot be written where it is wanted.
    """
    validate(config)
    if n_best > config.evaluation.beam_size:
        raise UserError(
            f"{n_best} translations of a sentence are wanted, and evaluation.beam_size is "
            f"{config.evaluation.beam_size}; add --config.evaluation.beam_size={n_best}"
        )
    check_writable(output_file, figure)
    if output_file is None and sys.stdout is None:
        raise UserError("standard output is closed; give --output FILE")
    sentences = [*sentences, *(_lines(input_file) if input_file else ())]
    if not sentences:
        raise UserError("no sentence; give some as arguments, or --input FILE")
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    vocabulary = Vocabulary.load(workdir / VOCABULARY_FILE)
    _, _, variables = restore_variables(workdir, which)
    model = create_network(config, len(vocabulary))
    translator = Translator(config, model, jax.device_put(variables), vocabulary, n_best)
    for line in _doubts(translator.encode(sentences), config.data.lengths[-1]):
        errors.print(line)
    best, seconds = [], 0.0
    with _opened(output_file, as_json) as file:
        for first in range(0, len(sentences), SENTENCES_AT_A_TIME):
            part = sentences[first : first + SENTENCES_AT_A_TIME]
            where = f"{first + 1:,} to {first + len(part):,} of {len(sentences):,}"
            found, taken = translator.translate(part, f"translating {where}", errors)
            rows = [row[:n_best] for row in found]
            if as_json:
                file.write((",\n" if first else "\n") + _json(part, rows))
            else:
                file.write(_text(rows, first + 1 if n_best > 1 else None))
            file.flush()
            best += [row[0] for row in found]
            seconds += taken
    written = [output_file] if output_file else []
    examples = translator.attention(sentences, best, MOST_SENTENCES) if figure else []
    if examples:
        attention_figure(examples, figure, f"{config.model.name}: where the decoder looked")
        written.append(figure)
    elif figure:
        errors.print(
            f"{figure} is not written: every sentence is blank, or it or its translation is "
            f"longer than the {MOST_PIECES - 1} pieces that can be drawn"
        )
    count = len(sentences)
    errors.print(
        f"{count:,} sentence{'s'[: count > 1]} in {seconds:.1f} s, {count / seconds:,.1f} "
        "sentences/s" + (f"; written: {', '.join(written)}" if written else "")
    )
    return 1 if figure and not examples else 0


def _lines(path: str) -> list[str]:
    if path == "-":
        if sys.stdin is None:
            raise UserError("standard input is closed; give --input FILE")
        return decode_lines(sys.stdin.buffer.read(), "standard input")
    return decode_lines(Path(path).read_bytes(), path)


def _doubts(encoded: Sequence[Sequence[int]], longest: int) -> Iterator[str]:
    """Yields of how many sentences the network may not make much, being unlike its training."""
    cases = (
        ("characters that the training text does not have", lambda row: UNKNOWN in row),
        (f"more than the {longest} tokens trained on", lambda row: len(row) + 1 > longest),
    )
    for unlike, applies in cases:
        if numbers := [number for number, row in enumerate(encoded, 1) if applies(row)]:
            others = f" and {len(numbers) - 1:,} more" if len(numbers) > 1 else ""
            yield f"doubtful, with {unlike}: sentence {numbers[0]:,}{others}"


@contextlib.contextmanager
def _opened(path: str | None, as_json: bool) -> Iterator[TextIO]:
    """Opens the output, and puts brackets around what is written, also if that breaks off."""
    with contextlib.ExitStack() as stack:
        file = sys.stdout
        if path is not None:
            open_file = gzip.open if path.endswith(".gz") else open
            file = stack.enter_context(open_file(path, "wt", encoding="utf-8"))
        if as_json:
            file.write("[")
            stack.callback(file.write, "\n]\n")
        yield file


def _text(found: Sequence[Sequence[Hypothesis]], first: int | None) -> str:
    """Returns lines with the number of the sentence and the score if `first`, its number, is."""
    if first is None:
        return "".join(f"{row[0].text}\n" for row in found)
    return "".join(
        f"{number}\t{hypothesis.score:.4f}\t{hypothesis.text}\n"
        for number, row in enumerate(found, first)
        for hypothesis in row
    )


def _json(sentences: Sequence[str], found: Sequence[Sequence[Hypothesis]]) -> str:
    """Returns entries of a list, without what is between lists of them and around."""
    rows: list[dict[str, Any]] = [
        {"source": sentence, "translations": [{"text": h.text, "score": h.score} for h in row]}
        for sentence, row in zip(sentences, found, strict=True)
    ]
    return ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
