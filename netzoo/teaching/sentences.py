"""Sentences for lessons: a small Transformer, what its heads look at, and its translations.

They need the libraries of the extra `translate`.
"""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from chex import ArrayTree
from ml_collections import ConfigDict

from netzoo.config.overrides import read_config
from netzoo.layers import ENDPOINTS
from netzoo.paths import user_path
from netzoo.tasks import create_task, evaluation_task, run_config
from netzoo.teaching.fit import Fit, fit_loss
from netzoo.teaching.lesson import Setting
from netzoo.workdir.checkpoint import restore_variables

_CONFIG, _BATCH_TOKENS = "transformer_quickstart", 1024
_PAD = 0
_ATTENTION = {
    "encoder": "encoder/block{}/attention_weights",
    "decoder": "decoder/block{}/attention_weights",
    "cross": "decoder/block{}/cross_attention_weights",
}


class Attention(NamedTuple):
    """What heads look at.

    The decoder looks at the tokens before the one that it writes, from the start symbol on.

    Attributes:
      shares: Float32 `[blocks, heads, n, places]`, for the n tokens of all sentences of a batch.
      positions: The position of each of these tokens in its sentence, from 0, `[n]`.
      longest: The shares of the longest sentence, `[blocks, heads, rows, columns]`.
      rows: The tokens of this sentence, `[rows]`, as text. The decoder writes its rows.
      columns: The tokens that the rows look at, `[columns]`, as text.
    """

    shares: np.ndarray
    positions: np.ndarray
    longest: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    def looked_at(self) -> np.ndarray:
        """Return how many tokens each head looks at, `[blocks, heads]`.

        This is 2 to the power of the mean entropy. It is n if a head looks at n tokens alike.
        """
        return 2 ** entropy(self.shares).mean(-1)

    def difference(self) -> np.ndarray:
        """Return how the heads of each block differ, in bits, `[blocks]`.

        This is the Jensen-Shannon divergence of the heads, averaged over the tokens: 0 if all look
        at the same tokens, and log2(heads) if no two look at the same one.
        """
        together = entropy(self.shares.mean(1))
        return (together - entropy(self.shares).mean(1)).mean(-1)

    def follows(self) -> np.ndarray:
        """Return the correlation of a token's position with the mean position that it looks at.

        It is 1 for heads that move along with the sentence, `[blocks, heads]`.
        """
        places = self.shares @ np.arange(self.shares.shape[-1])
        rows = np.vstack([self.positions, places.reshape(-1, places.shape[-1])])
        return np.corrcoef(rows)[0, 1:].reshape(places.shape[:2])


def entropy(shares: np.ndarray) -> np.ndarray:
    """Return the entropy in bits of shares that sum to 1 along the last axis."""
    return -(shares * np.log2(np.maximum(shares, 1e-30))).sum(-1)


class Reordered(NamedTuple):
    """The encoder's outputs for sentences and for the same tokens in another order.

    Attributes:
      change: The norm of the difference between the outputs of the same tokens, relative to the
        norm of the outputs: a scalar, over all sentences.
      cosines: The cosine between the outputs of a sentence's tokens in order, the rows, and
        shuffled, the columns.
      rows: The tokens of this sentence, `[rows]`, as text.
      columns: The same tokens, shuffled, `[columns]`.
    """

    change: np.ndarray
    cosines: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


class Sentences:
    """Sentence pairs, and Transformers that translate them.

    The network is that of `configs/transformer_quickstart.py`, and a batch for training has 1,024
    tokens. The quick form has 1 + 1 blocks, 400 training pairs and 40 validation pairs. Nothing
    reads the test split.

    Attributes:
      trained: The last weights, if the source is the folder of a trained run; otherwise None.
    """

    def __init__(self, setting: Setting):
        """Open the data.

        Args:
          setting: Its source is a value of `data.source`, such as `number_words`, or the folder of
            a trained run, with its network and data.

        Raises:
          UserError: The run or the data cannot be read, or the extra `translate` is missing.
        """
        run: Any = user_path(setting.source)
        self._task: Any
        self.trained: ArrayTree | None = None
        if run.is_dir():
            config = ConfigDict(run_config(run))
            config.train.batch_size = _BATCH_TOKENS
            self._task, self.trained = evaluation_task(config, run), restore_variables(run)[2]
        else:
            config = read_config(_CONFIG)
            config.data.source, config.train.batch_size = setting.source, _BATCH_TOKENS
            if setting.quick:
                config.model.variant = (1, 32, 32, 2, 0.1)
                config.data.update(train_split="train[:400]", validation_split="validation[:40]")
                config.evaluation.batch_size = 512
            self._task = create_task(config)
        self._split = self._task.config.data.validation_split
        self._batch = next(iter(self._task.evaluation_batches(self._split, limit=200)))

    def initial_variables(self, seed: int = 0) -> ArrayTree:
        """Return random variables."""
        return jax.jit(self._task.init)(jax.random.key(seed))

    def fit(
        self,
        steps: int,
        seed: int = 0,
        *,
        change: Callable[[ArrayTree], ArrayTree] | None = None,
        watch: Callable[[ArrayTree], Mapping[str, float]] | None = None,
        watch_every: int = 100,
    ) -> Fit:
        """Train with AdamW, whose rate rises to 0.002 and falls to 0.

        Args:
          steps: Number of updates.
          seed: Decides the initial variables and dropout, but not the order of the pairs.
          change: Maps the trained variables to those that the network gets; None for the same.
          watch: See `netzoo.teaching.fit`.
          watch_every: See `netzoo.teaching.fit`.

        Returns:
          The trained variables and the course of the training.
        """

        def loss(
            variables: ArrayTree, batch: ArrayTree, key: jax.Array
        ) -> tuple[jax.Array, ArrayTree]:
            used = change(variables) if change else variables
            return self._task.loss(used, batch, key)[:2]

        return fit_loss(
            loss,
            self.initial_variables(seed),
            self._task.train_iterator(),
            steps=steps,
            optimizer=2e-3,
            seed=seed,
            watch=watch,
            watch_every=watch_every,
        )

    def bleu(self, variables: ArrayTree, beams: Sequence[int] = (1, 4)) -> dict[str, float]:
        """Translate the validation pairs with several beam sizes.

        Returns:
          BLEU (0 to 100), as `netzoo eval` computes it, by the size of the beam as text.
        """
        scores = {}
        for beam in beams:
            task = copy.copy(self._task)
            task.config = ConfigDict(task.config)
            task.config.evaluation.beam_size = beam
            scores[str(beam)] = task.report(variables, self._split, {}, {})[0]["bleu"]
        return scores

    def without_scaling(self, variables: ArrayTree) -> ArrayTree:
        """Return variables with which attention does not divide its products by sqrt(head size).

        The queries are multiplied by the number that attention divides them by.
        """
        size = self._task.model.variant.width // self._task.model.variant.heads
        return jax.tree_util.tree_map_with_path(
            lambda path, x: x * size**0.5 if "query" in jax.tree_util.keystr(path) else x, variables
        )

    def reorder(self, variables: ArrayTree, *, positions: bool) -> Reordered:
        """Encode the longest of the first 200 validation sources, in order and shuffled.

        Args:
          variables: The variables of the network.
          positions: Whether to add the position encoding to the embeddings.
        """

        def encode(model: Any, tokens: jax.Array) -> jax.Array:
            if positions:
                return model.encode(tokens, train=False)
            x = model.source_embedding(tokens) * model.variant.width**0.5
            return model.encoder(x, train=False, details=False)[0]

        source = self._batch["source"]
        lengths = (source != _PAD).sum(1)
        tokens = source[lengths == lengths.max(), : lengths.max()]
        order = np.random.default_rng(0).permutation(lengths.max())
        ours, other = (
            np.array(self._task.model.apply(variables, x, method=encode))
            for x in (tokens, tokens[:, order])
        )
        change = np.linalg.norm(ours[:, order] - other) / np.linalg.norm(ours)
        a, b = (x[0] / np.linalg.norm(x[0], axis=-1, keepdims=True) for x in (ours, other))
        rows, columns = self._texts(tokens[0]), self._texts(tokens[0, order])
        return Reordered(np.asarray(change), a @ b.T, rows, columns)

    def attention(self, variables: ArrayTree) -> dict[str, Attention]:
        """Return what heads look at while the network reads 200 pairs and writes the references.

        Returns:
          The self-attention of the `encoder` and of the `decoder`, and the attention of the decoder
          to the source, `cross`.
        """
        source, target = self._batch["source"], self._batch["target"]
        inputs, labels = target[:, :-1], target[:, 1:]
        apply = functools.partial(self._task.model.apply, train=False, mutable=[ENDPOINTS])
        found = jax.jit(apply)(variables, source, inputs)[1][ENDPOINTS]
        blocks = range(1, self._task.model.variant.layers + 1)
        sides = {
            "encoder": (source, source),
            "decoder": (labels, inputs),
            "cross": (labels, source),
        }
        views = {}
        for kind, (tokens, looked_at) in sides.items():
            weights = np.stack([found[_ATTENTION[kind].format(block)] for block in blocks])
            weights = np.moveaxis(weights, 2, 1)  # heads before sentences
            real = (tokens != _PAD) & self._batch["mask"][:, None]
            row = real.sum(1).argmax()
            down, across = (self._texts(x[row][x[row] != _PAD]) for x in (tokens, looked_at))
            if kind == "decoder":  # nothing is written after the end
                across = across[: len(down)]
            longest = weights[:, :, row, : len(down), : len(across)]
            views[kind] = Attention(weights[:, :, real], np.nonzero(real)[1], longest, down, across)
        return views

    def _texts(self, tokens: np.ndarray) -> np.ndarray:
        """Return tokens as text; `␣` is a token that is only a space."""
        pieces = self._task.vocabulary.pieces(tokens)
        return np.array([piece.strip("▁") or "␣" for piece in pieces])
