"""What config.json says about weights, in timm's or in transformers' layout."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from netzoo.errors import UserError, note_once, printable
from netzoo.weights.published import Preprocessing


class Description(NamedTuple):
    """The network of weights, their preprocessing and their classes."""

    model: str  # name in the registry
    options: Mapping[str, Any]  # options of `create_model`
    num_classes: int | None  # length of the logits; 0 without a head; None if unknown
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None  # in the order of the logits; None if not given
    licence: str | None
    prefix: str = ""  # missing at the beginning of the tensors' names


def refusal(where: str, field: str, found: Any, expected: str) -> UserError:
    """Return the error for a field whose value netzoo cannot express."""
    return UserError(
        f"{where}: netzoo cannot express {field} = {found!r:.100}; expected {expected}"
    )


def expect(where: str, config: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise a UserError if a field of `config` is present and differs from `expected`."""
    for field, value in expected.items():
        found = config.get(field, value)
        if found != value:
            raise refusal(where, field, found, repr(value))


def levels(shares: Sequence[float]) -> list[float]:
    """Return a mean or a deviation in 0 to 255 from one in 0 to 1."""
    return [round(255 * share, 9) for share in shares]  # 57.12, not 57.120000000000005


def names_of_classes(
    names: Any, num_classes: int | None, where: str, field: str
) -> tuple[str, ...] | None:
    """Return a name for each class, or None, with a note if the names of `field` are faulty.

    Equal names are accepted, because two classes of ImageNet are "crane" in transformers' files.
    """
    if not names or num_classes == 0:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        reason = "expected one text for each class"
    elif num_classes not in (None, len(names)):
        reason = f"expected {num_classes:,} names, got {len(names):,}"
    elif odd := [name for name in names if not name.strip() or name != printable(name)]:
        reason = f"{odd[0]!r:.100} is not printable text in one line"
    else:
        return tuple(names)
    note_once(f"{where}: {field} gives no names of classes: {reason}")
    return None
