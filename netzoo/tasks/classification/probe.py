"""Linear probe and nearest neighbours: how well do features separate the classes?

The settings of both are chosen on validation features, or by cross-validation in the training
features. The test features are used once, with the chosen settings.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from netzoo.tasks.classification.features import Features
from netzoo.tasks.classification.metrics import wilson_interval

PENALTIES = tuple(float(f"{c:.3g}") for c in np.logspace(-5, 0, 11))  # values of C to choose from
NEIGHBOURS = (1, 3, 5, 10, 20, 50, 100, 200)  # values of k to choose from
VOTES = ("cosine weighted", "cosine", "euclidean")
FOLDS = 5
_DINO_TEMPERATURE = 0.07
_MAX_STEPS = 1000  # of L-BFGS
_ROWS = 1024  # examples whose distances to all neighbours are in memory at once

Setting = dict[str, Any]


class Head(NamedTuple):
    """A linear classifier of features."""

    kernel: np.ndarray  # float64 [width, classes]
    bias: np.ndarray  # float64 [classes]

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return the most probable class of each row."""
        return (values @ self.kernel + self.bias).argmax(1)


def fit_heads(train: Features, classes: int, penalties: Sequence[float]) -> list[Head]:
    """Fit a multinomial logistic regression for each C in `penalties`.

    Its loss is `C * sum of cross-entropies + |kernel|^2 / 2`, as in scikit-learn; the bias has no
    penalty. C applies to features that are centred and divided by one number, so that their mean
    variance is 1: the same C suits features of any scale. The heads take the features as they are.
    """
    center = train.values.mean(0, dtype=np.float64)
    x = train.values - center
    scale = float(np.sqrt(np.square(x).mean())) or 1.0
    # Along the principal axes, a diagonal preconditioner works well: L-BFGS needs far fewer steps
    # to the same solution.
    axes, variances = _principal_axes(x / scale)
    x = x @ axes / scale
    targets, heads = np.eye(classes)[train.labels], []
    kernel, bias = np.zeros((x.shape[1], classes)), np.zeros((1, classes))
    for c in penalties:  # each solution is the start of the next
        decay = 1 / (c * len(x))
        factors = 1 / np.sqrt(variances / classes + decay)[:, None]
        found = minimize(
            _loss_and_gradient,
            np.concatenate([kernel / factors, bias]).ravel(),
            (x * factors.T, targets, decay * np.square(factors)),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": _MAX_STEPS, "ftol": 1e-10, "gtol": 1e-7},
        )
        kernel, bias = _split(found.x, classes)
        kernel = kernel * factors
        inner = axes @ kernel / scale
        heads.append(Head(inner, bias[0] - center @ inner))
    return heads


def _principal_axes(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the axes of centred rows, `[width, rank]`, and the variances along them."""
    rows, width = x.shape
    if width <= rows:
        variances, axes = np.linalg.eigh(x.T @ x / rows)
        return axes, np.maximum(variances, 0)
    variances, mixtures = np.linalg.eigh(x @ x.T / rows)
    kept = variances > 1e-10 * variances[-1]  # the others are rounding errors
    variances, mixtures = variances[kept], mixtures[:, kept]
    return x.T @ mixtures / np.sqrt(rows * variances), variances


def _split(flat: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    both = flat.reshape(-1, classes)
    return both[:-1], both[-1:]


def _loss_and_gradient(
    flat: np.ndarray, x: np.ndarray, targets: np.ndarray, decay: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the mean cross-entropy plus the penalty `decay` of each row, and the gradient."""
    kernel, bias = _split(flat, targets.shape[1])
    logits = x @ kernel + bias
    log_p = logits - logsumexp(logits, axis=1, keepdims=True)
    error = (np.exp(log_p) - targets) / len(x)
    loss = 0.5 * (decay * np.square(kernel)).sum() - (targets * log_p).sum() / len(x)
    gradient = np.concatenate([x.T @ error + decay * kernel, error.sum(0, keepdims=True)])
    return float(loss), gradient.ravel()


def vote(
    train: Features, values: np.ndarray, classes: int, votes: str, neighbours: Sequence[int]
) -> np.ndarray:
    """Return the predictions of k nearest neighbours, int `[len(neighbours), rows]`.

    Among equally near neighbours, the first ones count; ties of classes go to the lower label.

    Args:
      train: The neighbours.
      values: Features to classify.
      classes: Number of classes.
      votes: "cosine" and "euclidean" count neighbours; "cosine weighted" weights each by
        exp(similarity / 0.07), as in DINO (Caron et al., arXiv:2104.14294, appendix F.1).
      neighbours: Values of k, at most `len(train.values)`.
    """
    metric = votes.split()[0]
    known, unknown = (_for_metric(x, metric) for x in (train.values, values))
    most, found = max(neighbours), []
    for first in range(0, len(unknown), _ROWS):
        rows = unknown[first : first + _ROWS]
        near = rows @ known.T
        if metric == "euclidean":  # the row's own norm does not change its order
            near = 2 * near - np.square(known).sum(1)
        order = np.argsort(-near, axis=1, kind="stable")[:, :most]
        ballots = np.eye(classes)[train.labels[order]]
        if votes.endswith("weighted"):
            similar = np.take_along_axis(near, order, 1)
            ballots *= np.exp((similar - similar[:, :1]) / _DINO_TEMPERATURE)[..., None]
        found.append([ballots[:, :k].sum(1).argmax(1) for k in neighbours])
    return np.concatenate(found, axis=1)


def _for_metric(values: np.ndarray, metric: str) -> np.ndarray:
    values = values.astype(np.float64)
    if metric == "cosine":
        values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return values


class Method(Protocol):
    """A way to classify features, with its settings to choose from."""

    name: str
    settings: tuple[Setting, ...]

    def predictions(self, train: Features, values: np.ndarray) -> np.ndarray:
        """Return the predicted labels of features, int `[len(settings), rows]`."""


class LinearProbe:
    """Multinomial logistic regression; see `fit_heads`."""

    name = "linear probe"

    def __init__(self, classes: int):
        self._classes = classes
        self.settings: tuple[Setting, ...] = tuple({"C": c} for c in PENALTIES)

    def predictions(self, train: Features, values: np.ndarray) -> np.ndarray:
        """Implement `Method.predictions`."""
        return np.stack(
            [head.predict(values) for head in fit_heads(train, self._classes, PENALTIES)]
        )

    def fit(self, train: Features, setting: Setting) -> Head:
        """Return the classifier of one setting."""
        path = [c for c in PENALTIES if c <= setting["C"]]  # the path that `predictions` took
        return fit_heads(train, self._classes, path)[-1]


class Neighbours:
    """The vote of the k nearest training examples; see `vote`."""

    name = "kNN"

    def __init__(self, classes: int, examples: int):
        fewest = examples - -(-examples // FOLDS)  # in cross-validation
        self._classes = classes
        self._ks = [k for k in NEIGHBOURS if k <= max(1, fewest)]
        self.settings: tuple[Setting, ...] = tuple(
            {"k": k, "votes": name} for name in VOTES for k in self._ks
        )

    def predictions(self, train: Features, values: np.ndarray) -> np.ndarray:
        """Implement `Method.predictions`."""
        each = [vote(train, values, self._classes, name, self._ks) for name in VOTES]
        return np.concatenate(each)

    def fit(self, train: Features, setting: Setting) -> Callable[[np.ndarray], np.ndarray]:
        """Return the function from features to labels of one setting."""
        votes, ks = setting["votes"], [setting["k"]]
        return lambda values: vote(train, values, self._classes, votes, ks)[0]


class Choice(NamedTuple):
    """The best setting of a method, and what it was chosen by."""

    setting: Setting
    correct: int
    examples: int
    tried: list[dict[str, Any]]  # every setting with its accuracy


def choose(method: Method, train: Features, validation: Features | None) -> Choice:
    """Choose the setting with the most correct predictions, the first of equal ones.

    Without validation features, the training examples form five folds with the same shares of the
    classes. Each fold is predicted from the other four.
    """
    if validation is not None:
        right = method.predictions(train, validation.values) == validation.labels
    else:
        right = np.zeros((len(method.settings), len(train.labels)), bool)
        order, fold = np.argsort(train.labels, kind="stable"), np.arange(len(train.labels)) % FOLDS
        for number in range(FOLDS):
            held, kept = order[fold == number], order[fold != number]
            known = Features(train.values[kept], train.labels[kept])
            right[:, held] = method.predictions(known, train.values[held]) == train.labels[held]
    correct, count = right.sum(1), right.shape[1]
    tried = [
        {**setting, "accuracy": int(hits) / count}
        for setting, hits in zip(method.settings, correct, strict=True)
    ]
    best = int(correct.argmax())
    return Choice(method.settings[best], int(correct[best]), count, tried)


def score(correct: int, count: int) -> dict[str, Any]:
    """Return an accuracy with its Wilson 95 % interval, for a record."""
    interval = list(wilson_interval(correct, count))
    return {"accuracy": correct / count, "interval": interval, "count": count}
