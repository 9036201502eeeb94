"""The Transformer as a folder of two programs: the encoder, and one decoding step.

    encoder    source [batch, S] -> memory [batch, S, width]
    decoder    source, memory, target [batch, T] -> logits [batch, T, tokens]

`source` holds the tokens of sentences, each with the end token. `target` holds the start token and
the tokens of the translations so far. Padding fills up both. The logits at position n predict token
n + 1. A step computes the whole target again, so it needs no state.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import netzoo
from netzoo.errors import UserError
from netzoo.export.check import LARGEST
from netzoo.export.formats import FORMATS, read_program
from netzoo.export.program import Program, reading_back
from netzoo.files import new_folder, replacing
from netzoo.kernels import use_precision
from netzoo.paths import run_path
from netzoo.tasks import run_config
from netzoo.tasks.task import create_network
from netzoo.tasks.translation.sources import read_pairs
from netzoo.tasks.translation.task import VOCABULARY_FILE
from netzoo.tasks.translation.vocabulary import END, PAD, START, Vocabulary
from netzoo.workdir.checkpoint import restore_variables

_SENTENCES = 8  # number of sentences that are compared


class Compared(NamedTuple):
    """The largest difference between a folder of programs and their network."""

    relative: float  # to the largest logit
    described: str  # the sentences


def translator_programs(
    model, variables, name: str, length: int, precision: str = "default"
) -> dict[str, Program]:
    """Return the programs of a Transformer for sentences of at most `length` tokens."""
    tokens = (("batch", length), np.dtype(np.int32))
    width = model.variant.width
    memory = (("batch", length, width), np.dtype(np.float32))
    metadata = {
        "model": name,
        "length": length,
        **{"start": START, "end": END, "padding": PAD},
        "producer": f"netzoo {netzoo.__version__}",
    }

    def encode(source):
        with use_precision(precision):
            return (model.apply(variables, source, train=False, method="encode"),)

    def decode(source, memory, target):
        with use_precision(precision):
            return (model.apply(variables, source, target, memory, method="decode"),)

    inputs = {"source": tokens, "memory": memory, "target": tokens}
    return {
        "encoder": Program(encode, {"source": tokens}, ("memory",), metadata),
        "decoder": Program(decode, inputs, ("logits",), metadata),
    }


def export_translator(
    workdir: str | Path, which: str, config: ConfigDict, folder: Path, file_format: str
) -> Compared:
    """Write the programs and the vocabulary of a run into a new folder, after comparing them.

    Sentences have at most `max(data.lengths)` tokens. For `which`, see `restore_variables`.

    Raises:
      UserError: The folder exists, the run cannot be read, or the difference is too large. The
        folder is then not written.
    """
    if folder.exists():
        raise UserError(f"{folder} exists; give --out the name of a new folder")
    workdir = run_path(workdir)
    resolved = run_config(workdir, config)
    vocabulary = Vocabulary.load(workdir / VOCABULARY_FILE)
    model = create_network(resolved, len(vocabulary))
    variables = jax.device_put(restore_variables(workdir, which)[2])
    length = max(resolved.data.lengths)
    programs = translator_programs(
        model, variables, resolved.model.name, length, resolved.matmul_precision
    )
    source, target, described = _tokens(resolved, vocabulary, length)
    with new_folder(folder) as partial:
        known = FORMATS[file_format]
        for name, program in programs.items():
            with replacing(partial / f"{name}{known.suffix}") as file:
                known.load().write(file, program)
        expected = jax.jit(lambda v, *x: model.apply(v, *x, train=False))
        logits = np.asarray(expected(variables, source, target))
        with reading_back(folder):
            found = _run(partial, known.suffix, source, target)
        error = np.abs(found - logits).max()
        relative = float(error / np.abs(logits).max())
        if not relative <= LARGEST:
            raise UserError(
                f"{folder} was not written, because it and the network differ by {relative:.1e} of "
                f"the largest logit over {described}"
            )
        vocabulary.save(partial / VOCABULARY_FILE)
    return Compared(relative, described)


def _run(folder: Path, suffix: str, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the logits that the files compute, in batches of one and of all other sentences."""
    encoder, decoder = (read_program(folder / f"{n}{suffix}").run for n in ("encoder", "decoder"))
    found = []
    for rows in (slice(0, 1), slice(1, None)):
        [memory] = encoder(source[rows])
        found += decoder(source[rows], memory, target[rows])
    return np.concatenate(found)


def _tokens(
    config: ConfigDict, vocabulary: Vocabulary, length: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return source and target tokens `[n, length]` of a run, or random tokens without its data."""
    split = config.data.validation_split or config.data.train_split
    source, target = np.full((2, _SENTENCES, length), PAD, np.int32)
    try:
        pairs = read_pairs(config.data.source, split, config.data.data_dir)[:_SENTENCES]
    except (UserError, OSError):
        rng = np.random.default_rng(0)
        sizes = rng.integers(2, length, _SENTENCES)
        for row, size in enumerate(sizes):
            source[row, :size], target[row, :size] = rng.integers(END, len(vocabulary), (2, size))
        return source, target, f"{_SENTENCES} random sentences"
    texts = zip(*pairs, strict=True)
    ends: Any = (([], [END]), ([START], []))
    for rows, side, (first, last) in zip((source, target), texts, ends, strict=True):
        for row, tokens in zip(rows, vocabulary.encode_all(side), strict=False):
            whole = [*first, *tokens, *last][:length]
            row[: len(whole)] = whole
    count = len(pairs)
    return source[:count], target[:count], f"{count} sentences of {config.data.source} {split}"
