"""The classes of the data and of the weights that a run starts from."""

from collections.abc import Callable, Sequence
from pathlib import Path

from chex import ArrayTree

from netzoo.data.source import Source, SourceError, is_multi_label
from netzoo.errors import UserError, note
from netzoo.weights.class_names import class_names_of, load_class_names
from netzoo.weights.fit import select_classes


def check_class_names(source: str, names: Sequence[str], workdir: Path | None) -> None:
    """Check that data have two classes or more, and the classes of the run in `workdir`, if any.

    Raises:
      UserError: The data have fewer than two classes. Or the run has other classes, or the same
        classes in another order.
    """
    if len(names) < 2:
        raise UserError(
            f"{source} has the class {', '.join(names)} only; expected at least two. Each class of "
            "a folder:PATH is a sub-folder"
        )
    if workdir and (saved := load_class_names(workdir)) != names:
        raise UserError(
            f"{source} has the classes {', '.join(names)}; the run in {workdir} was trained on "
            f"{', '.join(saved)}, in this order. Labels would be mixed up: use data with the same "
            "class names in the same order"
        )


def check_kind_of_labels(source: Source, *, multi_label: bool) -> None:
    """Check that the images of a source have one class each, or label vectors if `multi_label`.

    Raises:
      SourceError: The labels are of the other kind.
    """
    if is_multi_label(source) and not multi_label:
        raise SourceError(
            f"the images of {source.name} may have several classes; set data.multi_label=True and "
            "train.loss=binary_cross_entropy, or another loss with a sigmoid"
        )
    if multi_label and not is_multi_label(source):
        raise SourceError(
            f"the images of {source.name} have one class each; set data.multi_label=False"
        )


def with_matching_head(
    path: str | None,
    names: Sequence[str],
    load: Callable[..., ArrayTree | None],
    new_head: bool,
) -> ArrayTree | None:
    """Return initial variables with a head for the classes `names`, in their order.

    The head of a run, or of netzoo's own file with class names, is reordered if the classes are the
    same. A head for the same number of other classes is re-initialised.

    Args:
      path: The weights, `init.weights`.
      names: The classes of the data.
      load: `Task.pretrained_variables`.
      new_head: Whether to re-initialise the head in any case.
    """
    theirs = names if path is None else class_names_of(path) or names
    if len(theirs) == len(names) and sorted(theirs) != sorted(names):
        note(f"head re-initialised: {path} has the classes {', '.join(theirs)}")
        new_head = True
    variables = load(new_head=new_head)
    if sorted(theirs) != sorted(names) or theirs == names:
        return variables
    note(f"head reordered: {path} has its classes in the order {', '.join(theirs)}")
    return select_classes(variables, [theirs.index(name) for name in names])
