"""TFDS split expressions, and the default splits of a run."""

import re
from collections.abc import Collection, Mapping

import tensorflow_datasets as tfds

from netzoo.data.source import SourceError
from netzoo.errors import did_you_mean

# Names of the validation split; each is an alias of the others.
VALIDATION_NAMES = ("validation", "val", "valid")


def default_splits(
    names: Collection[str], validation: str | None = None, test: str | None = None
) -> tuple[str, str, str]:
    """Return the splits of a source for training, validation and test.

    `names` are the splits of the source. A missing test split is the last fifth of `train`, and a
    missing validation split the last tenth of the rest. A given `validation` or `test` is kept.
    """
    named = (name for name in VALIDATION_NAMES if name in names and name != test)
    validation = validation or next(named, None)
    test = test or ("test" if "test" in names and validation != "test" else None)
    if validation and test:
        return "train", validation, test
    if test:
        return "train[:90%]", "train[90%:]", test
    if validation:
        return "train[:80%]", validation, "train[80%:]"
    return "train[:72%]", "train[72%:80%]", "train[80%:]"


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
    # TFDS parses few names, and `all` is its keyword, so pass it other names of the splits.
    parsed = {name: f"_{place}_" for place, name in enumerate(lengths)}
    names = {other: name for name, other in parsed.items()}
    parsed |= {alias: parsed[n] for alias, n in (aliases or {}).items() if n in parsed}
    divided = (term.strip().partition("[") for term in split.split("+"))
    terms = ((name.strip(), mark + slice_) for name, mark, slice_ in divided)
    infos = {
        other: tfds.core.SplitInfo(name=other, shard_lengths=[lengths[name]], num_bytes=0)
        for other, name in names.items()
    }
    try:
        spec = tfds.core.ReadInstruction.from_spec(
            "+".join(parsed.get(name, name) + slice_ for name, slice_ in terms)
        )
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


def validation_aliases(splits: Collection[str]) -> dict[str, str]:
    """Map further names of the validation split to its name among `splits`."""
    there = [name for name in VALIDATION_NAMES if name in splits]
    return dict.fromkeys(set(VALIDATION_NAMES) - {*there}, there[0]) if len(there) == 1 else {}


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
