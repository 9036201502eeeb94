"""Translates sentences with the weights of a run."""

import contextlib
import gzip
import io
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import jax
from ml_collections import ConfigDict

from netzoo.console import json_text
from netzoo.errors import UserError, note, printable
from netzoo.figures import check_format
from netzoo.files import replacing
from netzoo.models.summary import check_variables, variable_shapes
from netzoo.paths import user_path
from netzoo.tasks import run_config
from netzoo.tasks.task import create_network
from netzoo.tasks.translation.figures import MOST_PIECES, MOST_SENTENCES, attention_figure
from netzoo.tasks.translation.sources import decode_lines
from netzoo.tasks.translation.task import SPACES, VOCABULARY_FILE
from netzoo.tasks.translation.translator import Hypothesis, Translator
from netzoo.tasks.translation.vocabulary import UNKNOWN, Vocabulary
from netzoo.workdir.checkpoint import restore_variables
from netzoo.workdir.outputs import check_apart, check_writable

# Sentences translated and written at a time: enough for full batches of every length.
SENTENCES_AT_A_TIME = 4096


class Options(NamedTuple):
    """Options of translation, which are also flags of `netzoo predict`."""

    checkpoint: str = "last"  # or "best" or "average"
    # Translations per sentence. If more than 1, each has a line with the sentence number from 1,
    # the score and the text, separated by tabs.
    top_k: int = 1
    # Write a JSON list [{"source": ..., "translations": [{"text": ..., "score": ...}]}].
    json: bool = False
    figure: str | None = None  # file for a figure of the attention of the first sentences
    input: str | None = None  # UTF-8 text, one sentence per line, plain or gzip; - for stdin
    output: str | None = None  # UTF-8 file instead of standard output; gzip if it ends in .gz


def load(config: ConfigDict, workdir: Path, checkpoint: str, n_best: int = 1) -> Translator:
    """Load the network and the vocabulary of a run.

    Raises:
      UserError: The run cannot be read, or its weights do not belong to the network.
    """
    config = run_config(workdir, config)
    vocabulary = Vocabulary.load(workdir / VOCABULARY_FILE)
    _, _, variables = restore_variables(workdir, checkpoint)
    model = create_network(config, len(vocabulary))
    check_variables(model, variables, variable_shapes(model, 0))
    return Translator(config, model, jax.device_put(variables), vocabulary, n_best)


def predict(config: ConfigDict, workdir: Path, sentences: Sequence[str], options: Options) -> int:
    """Translate sentences and then the lines of a file, and write one line for each.

    The translation of a blank sentence is empty. Progress, speed and warnings about sentences
    unlike the training text go to standard error.

    Returns:
      The exit status: 0; 1 if a figure is requested and no sentence can be drawn; or 130 after
      Ctrl-C, which stops the translation; translations that were already written are kept.

    Raises:
      UserError: No sentence is given; a sentence is not text or too long; more translations are
        requested than the beam size; the run cannot be read; or a file cannot be written.
    """
    if options.top_k > config.evaluation.beam_size:
        raise UserError(
            f"--top_k is {options.top_k}; expected at most evaluation.beam_size, "
            f"{config.evaluation.beam_size}. Add --config.evaluation.beam_size={options.top_k}"
        )
    check_writable(options.output, options.figure)
    check_apart((options.output, options.figure), [options.input] if options.input else [])
    check_format(options.figure)
    if options.output is None and sys.stdout is None:
        raise UserError("standard output is closed; pass --output FILE")
    sentences = [*sentences, *(_lines(options.input) if options.input else ())]
    if not sentences:
        raise UserError("no sentence; pass sentences as arguments, or --input FILE")
    translator = load(config, workdir, options.checkpoint, options.top_k)
    config = translator.config
    for line in _warnings(translator.encode(sentences), config.data.lengths[-1]):
        note(line)
    best, seconds = _write_translations(translator, sentences, options)
    written = [options.output] if options.output else []
    status, count = 0, len(sentences)
    if len(best) < count:
        note(f"interrupted: {len(best):,} of {count:,} sentences were translated")
        return 128 + signal.SIGINT
    if options.figure:
        if examples := translator.attention(sentences, best, MOST_SENTENCES):
            title = f"{config.model.name}: where the decoder looked"
            attention_figure(examples, options.figure, title)
            written.append(options.figure)
        else:
            status = 1
            note(
                f"{options.figure} was not written: it shows only sentences that are not blank "
                f"and, like their translations, have at most {MOST_PIECES - 1} tokens; pass such "
                "sentences"
            )
    note(
        f"{count:,} sentence{'s'[: count > 1]} in {seconds:.1f} s, {count / seconds:,.1f} "
        "sentences/s" + (f"; written: {', '.join(written)}" if written else "")
    )
    return status


def _write_translations(
    translator: Translator, sentences: Sequence[str], options: Options
) -> tuple[list[Hypothesis], float]:
    """Write the translations part by part; return the best translations and the seconds.

    After Ctrl-C, these are the translations of the first parts.
    """
    best, seconds, file = [], 0.0, sys.stdout
    with contextlib.ExitStack() as stack:
        if options.output is not None:
            file = stack.enter_context(_open_output(options.output))
        if options.json:
            file.write("[")
            stack.callback(file.write, "\n]\n")  # even after an error
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        for first in range(0, len(sentences), SENTENCES_AT_A_TIME):
            part = sentences[first : first + SENTENCES_AT_A_TIME]
            where = f"{first + 1:,} to {first + len(part):,} of {len(sentences):,}"
            translations, taken = translator.translate(part, f"translating {where}")
            answers = enumerate(zip(part, translations, strict=True), first + 1)
            for number, (sentence, hypotheses) in answers:
                entry = _entry(number, sentence, hypotheses[: options.top_k], options)
                file.write(printable(entry, keep="\t\n") if file.isatty() else entry)
                best.append(hypotheses[0])
            file.flush()
            seconds += taken
    return best, seconds


@contextlib.contextmanager
def _open_output(path: str) -> Iterator[IO[str]]:
    """Open a text file, compressed if its name ends in .gz.

    The file gets its name at the end. After an error it holds what was written until then.
    """
    failure = None
    with contextlib.ExitStack() as stack:
        packed = path.endswith(".gz")
        file = stack.enter_context(replacing(path, "wb" if packed else "w", typed=True))
        if packed:
            archive = stack.enter_context(gzip.GzipFile("", "wb", fileobj=file))
            file = stack.enter_context(io.TextIOWrapper(archive, encoding="utf-8"))
        try:
            yield file
        except Exception as error:
            failure = error
    if failure:
        raise failure


def _entry(number: int, sentence: str, hypotheses: Sequence[Hypothesis], options: Options) -> str:
    """Return the lines of a sentence, or its entry in the JSON list."""
    if options.json:
        translations = [{"text": h.text, "score": h.score} for h in hypotheses]
        entry = {"source": sentence, "translations": translations}
        return (",\n" if number > 1 else "\n") + json_text(entry)
    texts = [h.text.translate(SPACES) for h in hypotheses]
    if options.top_k == 1:
        return f"{texts[0]}\n"
    scored = zip(hypotheses, texts, strict=True)
    return "".join(f"{number}\t{h.score:.4f}\t{text}\n" for h, text in scored)


def _lines(path: str) -> list[str]:
    if path == "-":
        if sys.stdin is None:
            raise UserError("standard input is closed; pass --input FILE")
        return decode_lines(sys.stdin.buffer.read(), "standard input")
    return decode_lines(user_path(path).read_bytes(), path)


def _warnings(encoded: Sequence[Sequence[int]], longest: int) -> Iterator[str]:
    """Yield warnings about sentences unlike the training text."""
    cases = (
        ("characters that the training text does not have", lambda row: UNKNOWN in row),
        (
            f"more than {longest} tokens, the maximum in training",
            lambda row: len(row) + 1 > longest,
        ),
    )
    for unlike, applies in cases:
        if numbers := [number for number, row in enumerate(encoded, 1) if applies(row)]:
            others = f" and {len(numbers) - 1:,} more" if len(numbers) > 1 else ""
            yield (
                f"translations may be poor for sentences with {unlike}: "
                f"sentence {numbers[0]:,}{others}"
            )
