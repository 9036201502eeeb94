"""TFDS split expressions, and the default splits of a run."""

import itertools
import re
from collections.abc import Callable, Collection, Mapping

import tensorflow_datasets as tfds

from netzoo.config.rules import are_apart
from netzoo.data.source import SourceError
from netzoo.errors import did_you_mean

# The words for each split, the usual one first; a folder may have them in any case.
SPLIT_WORDS = {
    "train": ("train", "training", "trn", "trainval"),
    "validation": ("validation", "val", "valid", "dev", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation"),
}
_SUFFIXES = "sets?|data|images|imgs|split"  # as in `training_set`


def split_role(name: str) -> str | None:
    """Return the split that a name means, a key of `SPLIT_WORDS`, or None for other names."""
    for role, words in SPLIT_WORDS.items():
        if re.fullmatch(f"({'|'.join(words)})({_SUFFIXES})?", _plain(name)):
            return role
    return None


def _plain(name: str) -> str:
    """Return a name in lower case, without the characters between its words."""
    return re.sub(r"[\W_]", "", name.lower())


def default_splits(
    names: Collection[str],
    validation: str | None = None,
    test: str | None = None,
    *,
    folded: bool = False,
) -> tuple[str, str | None, str]:
    """Return the splits of a source for training, validation and test.

    `names` are the splits of the source. A missing test split is the last fifth of the training
    split, and a missing validation split the last tenth of the rest. An existing `validation` or
    `test` is kept. With `folded`, a fold of the training split will be the validation split, which
    is None here.

    Raises:
      SourceError: The source lists no splits (sources of user modules never do), it has no
        training split, or the training split may contain the validation split.
    """
    if not names:
        raise SourceError(
            "The source lists no splits: set data.train_split, and data.validation_split and "
            "data.test_split if it has them."
        )
    train = _named("train", names)
    if train is None:
        raise SourceError(
            f"The source has the splits {', '.join(sorted(names))}, and needs a training split "
            f"named {', '.join(SPLIT_WORDS['train'][:-1])} or {SPLIT_WORDS['train'][-1]}. To "
            "train on a part of another split, set data.train_split, such as "
            f"data.train_split={min(names)}[:80%]."
        )
    if _plain(train).startswith("trainval") and (other := _named("validation", names)):
        raise SourceError(
            f"The split {train} usually contains the examples of {other}. Set data.train_split, "
            f"data.validation_split and data.test_split, such as data.train_split={train}[:90%] "
            f"and data.validation_split={train}[90%:]."
        )
    if folded:
        test = test or _named("test", names)
        return (train, None, test) if test else (f"{train}[:80%]", None, f"{train}[80%:]")
    validation = validation or _named("validation", {*names} - {test})
    test = test or _named("test", {*names} - {validation})
    if validation and test:
        return train, validation, test
    if test:
        return f"{train}[:90%]", f"{train}[90%:]", test
    if validation:
        return f"{train}[:80%]", validation, f"{train}[80%:]"
    return f"{train}[:72%]", f"{train}[72%:80%]", f"{train}[80%:]"


def evaluation_split(names: Collection[str]) -> str:
    """Return the split of a source for the evaluation of a run that was trained on other data.

    `names` are the splits of the source. Without a test split, all examples are evaluated.
    """
    return _named("test", names) or "all"


def _named(role: str, names: Collection[str]) -> str | None:
    """Return the name of a split; among several names, prefer the first word in `SPLIT_WORDS`."""
    found = [name for name in sorted(names) if split_role(name) == role]
    words = SPLIT_WORDS[role]
    return min(found, key=lambda n: words.index(n) if n in words else len(words), default=None)


def resolve_split(
    split: str, lengths: Mapping[str, int], aliases: Mapping[str, str] | None = None
) -> list[tuple[str, range]]:
    """Translate a TFDS split expression, such as `train[:80%]+test`, into ranges of indices.

    TFDS parses the expression (https://www.tensorflow.org/datasets/splits), so percentages are
    rounded as in TFDS. `lengths` maps each split to its number of examples, and `aliases` maps
    further names to names of splits.

    Returns:
      `(split name, range of indices)` for each term, in order.

    Raises:
      SourceError: The expression is malformed, a split is unknown, or the selection is empty.
    """
    # TFDS parses only simple names and reserves `all`, so pass other names for the splits.
    parsed = {name: f"_{place}_" for place, name in enumerate(lengths)}
    names = {other: name for name, other in parsed.items()}
    parsed |= {alias: parsed[n] for alias, n in (aliases or {}).items() if n in parsed}
    infos = {
        other: tfds.core.SplitInfo(name=other, shard_lengths=[lengths[name]], num_bytes=0)
        for other, name in names.items()
    }
    try:
        spec = tfds.core.ReadInstruction.from_spec(_renamed(split, parsed))
        parts = [
            (name, range(*slice(part.from_, part.to).indices(lengths[name])))
            for part in spec.to_absolute(infos)
            for name in [names[part.splitname]]
        ]
        if not any(len(part) for _, part in parts):
            raise ValueError("it selects no examples.")
    except (ValueError, KeyError, AssertionError, NotImplementedError) as error:
        reason = re.sub("_[0-9]+_", lambda match: names.get(match[0], match[0]), str(error))
        raise split_error(split, lengths, type(error)(reason)) from error
    return parts


def check_apart(splits: Mapping[str, str], sizes: Mapping[str, Callable[[], int]]) -> None:
    """Check that the splits of a run share no examples.

    Args:
      splits: The split expression of each configuration key.
      sizes: For each split of the source, a function that counts the split's examples. The
        functions are called only if the expressions alone do not decide. Without the functions,
        splits on which the expressions do not decide are not checked.

    Raises:
      SourceError: Two splits share examples, or an expression is invalid.
    """
    aliases = split_aliases(sizes)
    lengths: dict[str, int] = {}
    for (key, split), (other_key, other) in itertools.combinations(splits.items(), 2):
        apart = are_apart(_renamed(split, aliases), _renamed(other, aliases))
        if apart is None and sizes:
            lengths = lengths or {name: count() for name, count in sizes.items()}
            parts, others = (resolve_split(text, lengths, aliases) for text in (split, other))
            apart = not any(
                name == other_name and max(a.start, b.start) < min(a.stop, b.stop)
                for (name, a), (other_name, b) in itertools.product(parts, others)
            )
        if apart is False:
            raise SourceError(
                f"{other_key} is {other!r}; expected a split that shares no examples with {key}, "
                f"{split!r}"
            )


def _renamed(split: str, names: Mapping[str, str]) -> str:
    """Return a split expression with other names of the splits."""
    terms = (term.strip().partition("[") for term in split.split("+"))
    return "+".join(f"{names.get(n.strip(), n.strip())}{mark}{rest}" for n, mark, rest in terms)


def split_aliases(splits: Collection[str]) -> dict[str, str]:
    """Map the alternative names of a role, e.g. `val`, to the only split that has the role.

    If a source has a single split, `all` is also a word for it.
    """
    aliases = {"all": min(splits)} if len(splits) == 1 else {}
    for role, words in SPLIT_WORDS.items():
        found = [name for name in splits if split_role(name) == role]
        if len(found) == 1:
            aliases |= dict.fromkeys({*words} - {*splits}, found[0])
    return aliases


def split_error(split: str, lengths: Mapping[str, int], error: Exception) -> SourceError:
    """Return the error for an invalid split expression, with the valid names."""
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
    named = re.split(r"[\[+]", split)[0].strip()
    hint = "" if named in lengths else did_you_mean(named, lengths)
    available = ", ".join(f"{name!r} ({count:,} examples)" for name, count in lengths.items())
    return SourceError(
        f"Cannot read split {split!r}: {reason} Available: {available}.{hint} Slices are written "
        "like 'train[:80%]', 'train[80%:]' or 'train[:100]', and joined with '+'."
    )
