"""Translation of sentences, with the cross-entropy of every next token."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.console import say
from netzoo.data.source import fingerprint
from netzoo.errors import UserError, noting
from netzoo.files import replacing
from netzoo.mesh import process_shard
from netzoo.paths import run_path
from netzoo.progress import format_metric
from netzoo.tasks.task import Task, apply_in_training, create_network
from netzoo.tasks.translation.batches import Buckets, Corpus, EvalBatches, TrainBatches
from netzoo.tasks.translation.figures import attention_figure
from netzoo.tasks.translation.metrics import (
    bleu_tokenizer,
    corpus_scores,
    create_bleu,
    metrics_from_sums,
)
from netzoo.tasks.translation.record import RECORD, TRANSLATIONS_FILE
from netzoo.tasks.translation.sources import read_pairs, split_sizes, target_language
from netzoo.tasks.translation.translator import Translator
from netzoo.tasks.translation.vocabulary import PAD, Vocabulary

VOCABULARY_FILE = "vocabulary.model"
ATTENTION_FIGURE = "attention.png"
DRAWN_SENTENCES = 10
SPACES = str.maketrans("\t\n\r", "   ")  # replaces what would end a line or a column


class Translation(Task):
    """Trains the Transformer on sentence pairs."""

    main_metric = "token_accuracy"
    throughput_unit = RECORD.throughput_unit

    @staticmethod
    def split_sizes(config: ConfigDict) -> Mapping[str, Callable[[], int]]:
        """Return, for each split of `data.source`, a function that counts the split's pairs."""
        return split_sizes(config.data.source, config.data.data_dir)

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path | None = None,
        *,
        vocabulary: Vocabulary | None = None,
    ):
        """Learn or load the vocabulary unless it is given, and create the network.

        Raises:
          UserError: The data, the vocabulary or the network does not fit the configuration.
        """
        self.config = config
        self._pairs = functools.cache(
            lambda split: read_pairs(config.data.source, split, config.data.data_dir)
        )
        self._corpus = functools.cache(
            lambda split: Corpus.encode(self._pairs(split), self.vocabulary)
        )
        self.vocabulary = vocabulary or self._find_vocabulary(workdir)
        self.model = create_network(config, len(self.vocabulary))

    @classmethod
    def for_evaluation(cls, config: ConfigDict, workdir: Path) -> "Task":
        """Return the task of a run with the run's vocabulary.

        Raises:
          UserError: The vocabulary of the run is missing or damaged, or BLEU's tokenizer cannot be
            used.
        """
        task = cls(config, vocabulary=Vocabulary.load(workdir / VOCABULARY_FILE))
        create_bleu(task.bleu_tokenizer)  # fails before the evaluation
        return task

    @property
    def bleu_tokenizer(self) -> str:
        """The name of sacrebleu's tokenizer."""
        given = self.config.evaluation.bleu_tokenizer
        return given or bleu_tokenizer(target_language(self.config.data.source))

    # mypy treats a cached property as read-only.
    @functools.cached_property
    def steps_per_epoch(self) -> int:  # type: ignore[override]
        """Batches of one pass over the training pairs that fit the buckets."""
        return self._buckets("train").steps(self._corpus(self.config.data.train_split))

    def _find_vocabulary(self, workdir: Path | None) -> Vocabulary:
        config = self.config
        if workdir and (saved := workdir / VOCABULARY_FILE).exists():
            return Vocabulary.load(saved)
        if config.data.vocabulary:
            return Vocabulary.load(config.data.vocabulary)
        if config.init.weights:  # weights need their vocabulary
            with noting("Or set data.vocabulary to the vocabulary of these weights."):
                return Vocabulary.load(run_path(config.init.weights) / VOCABULARY_FILE)
        texts = itertools.chain.from_iterable(self._pairs(config.data.train_split))
        return Vocabulary.learn(texts, config.data.vocabulary_size)

    def save(self, workdir: Path) -> None:
        """Write the vocabulary, which the weights need."""
        self.vocabulary.save(workdir / VOCABULARY_FILE)

    def _buckets(self, purpose: str) -> Buckets:
        data = self.config.data
        return Buckets(tuple(data.lengths), self.config[purpose].batch_size, data.row_multiple)

    def batch_sizes(self, *, training: bool = True) -> dict[str, int]:
        """Return a divisor of the number of rows of every batch."""
        rows, parts = self.config.data.row_multiple, self.config.train.grad_accum_steps
        if training:
            return {"data.row_multiple / train.grad_accum_steps": rows // parts}
        return {"data.row_multiple": rows}

    def notes(self) -> list[str]:
        """Report the number of pairs that are too long for training."""
        corpus = self._corpus(self.config.data.train_split)
        long, most = self._buckets("train").left_out(corpus), self.config.data.lengths[-1]
        note = f"{long:,} of {len(corpus):,} training pairs are longer than the last "
        return [note + f"of data.lengths, {most} tokens, and left out"] if long else []

    def fingerprint(self, split: str) -> dict[str, Any]:
        """Return the number of pairs and the hash of their sentences."""
        pairs = self._pairs(split)
        return fingerprint(len(pairs), itertools.chain.from_iterable(pairs))

    def count(self, batch: ArrayTree) -> int:
        """Return the number of tokens to predict."""
        return int((batch["target"][:, 1:] != PAD).sum())

    def init(self, key: jax.Array) -> ArrayTree:
        """Return initial variables."""
        token = jnp.zeros((1, 1), jnp.int32)
        return self.model.init(key, token, token, train=False)

    def train_iterator(self) -> Iterator[ArrayTree]:
        """Return endless batches; see `netzoo.tasks.translation.batches.TrainBatches`."""
        config, buckets = self.config, self._buckets("train")
        corpus = self._corpus(config.data.train_split)
        return iter(TrainBatches(corpus, buckets, seed=config.seed, **self._reading()))

    def _reading(self) -> dict[str, Any]:
        return {"num_threads": self.config.data.num_threads, "shard": process_shard()}

    def loss(
        self, variables: ArrayTree, batch: ArrayTree, key: jax.Array
    ) -> tuple[jax.Array, ArrayTree, ArrayTree]:
        """Return the mean cross-entropy of real tokens with label smoothing, and metrics."""
        config, (inputs, labels) = self.config, _inputs_and_labels(batch)
        weights = batch["weight"][:, None] * (labels != PAD) / len(labels)
        arguments = (*inputs, labels, weights, config.train.label_smoothing)
        (loss, correct), model_state = apply_in_training(
            config, self.model, variables, *arguments, train=True, key=key, method="cross_entropy"
        )
        return loss, model_state, {"loss": loss, "token_accuracy": (weights * correct).sum()}

    def evaluation_batches(self, split: str, limit: int | None = None) -> Iterable[ArrayTree]:
        """Return batches with every pair of the split once, or `limit` evenly spaced pairs."""
        corpus, buckets = self._corpus(split), self._buckets("evaluation")
        try:
            return EvalBatches(corpus, buckets, limit=limit, **self._reading())
        except UserError as error:
            raise UserError(f"{self.config.data.source}, split {split!r}: {error}") from None

    def evaluation_sums(self, variables: ArrayTree, batch: ArrayTree) -> ArrayTree:
        """Return the sums described in `netzoo.tasks.translation.metrics`."""
        inputs, labels = _inputs_and_labels(batch)
        real = labels != PAD
        arguments = (*inputs, labels, real.astype(jnp.float32))
        totals: Any = self.model.apply(variables, *arguments, train=False, method="cross_entropy")
        loss, correct = totals
        return {
            "loss_sum": loss,
            "correct": (real & correct).sum(),
            "tokens": real.sum(),
            "count": batch["mask"].sum(),
        }

    def metrics(self, sums: Mapping[str, Any], rows: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metrics of a split; see `metrics_from_sums`."""
        del rows
        return metrics_from_sums(sums)

    def report(
        self,
        variables: ArrayTree,
        split: str,
        sums: dict[str, np.ndarray],
        rows: dict[str, np.ndarray],
        fitted: Any = None,
    ) -> tuple[dict[str, Any], Callable[[Path], None]]:
        """Translate the split; return scores, and a function that writes and draws results."""
        del sums, rows, fitted
        sources, references = zip(*self._pairs(split), strict=True)
        translator = Translator(self.config, self.model, variables, self.vocabulary)
        translations, seconds = translator.translate(sources, f"translating {split}")
        best = [hypotheses[0] for hypotheses in translations]
        texts = [hypothesis.text for hypothesis in best]

        def draw(folder: Path) -> None:
            rows = zip(sources, references, texts, strict=True)
            _write_table(folder / TRANSLATIONS_FILE, ("source", "reference", "translation"), rows)
            (folder / ATTENTION_FIGURE).unlink(missing_ok=True)  # may be of another split
            title = f"{self.config.model.name} on {self.config.data.source} {split}"
            if examples := translator.attention(sources, best, DRAWN_SENTENCES):
                attention_figure(examples, folder / ATTENTION_FIGURE, title)

        return {
            **corpus_scores(texts, references, self.bleu_tokenizer),
            "sentences_per_second": len(sources) / seconds,
        }, draw

    def show(self, report: dict[str, Any]) -> None:
        """Print the scores."""
        low, high = report["bleu_interval"]
        say(
            f"BLEU {report['bleu']:.2f} (95 % interval {low:.2f} to {high:.2f}), "
            f"{report['bleu_signature']}\n"
            f"lower-cased {report['bleu_lowercased']:.2f}, chrF {report['chrf']:.2f}, "
            f"exact matches {report['exact_match']:.2%}\n"
            f"loss {format_metric(report['loss'])}, "
            f"perplexity {format_metric(report['perplexity'], 2)}, "
            f"token accuracy {report['token_accuracy']:.2%}, "
            f"{report['count']:,} pairs of {report['split']}, "
            f"{report['sentences_per_second']:,.0f} sentences/s"
        )


def task_class(config: ConfigDict) -> type[Task]:
    """Return the class of the task."""
    del config
    return Translation


def _inputs_and_labels(batch: ArrayTree) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """Return the source, the target shifted right, and the tokens to predict."""
    return (batch["source"], batch["target"][:, :-1]), batch["target"][:, 1:]


def _write_table(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Write tab-separated columns without quotes, so that `cut` returns the texts."""
    with replacing(path, "w") as file:
        for row in (header, *rows):
            file.write("\t".join(text.translate(SPACES) for text in row) + "\n")
