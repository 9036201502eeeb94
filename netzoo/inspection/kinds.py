"""What `netzoo inspect` can draw, by name, and for which networks."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from netzoo.errors import UserError
from netzoo.inspection.attention import attention_heads, attention_map, attention_rollout
from netzoo.inspection.figures import image_sheet, map_sheet
from netzoo.inspection.grad_cam import grad_cam
from netzoo.inspection.layers import WEIGHTS, find_layer
from netzoo.inspection.programs import checked_classes, checked_images, layers_of
from netzoo.tasks.classification.predictor import Predictor


class Subject(NamedTuple):
    """A network, and what to draw of it."""

    title: str  # e.g. the name of the network
    predictor: Predictor
    class_name: str | None = None  # None for the most probable class of each image
    layer: str | None = None  # None for the default
    images: Sequence[np.ndarray] = ()  # preprocessed
    names: Sequence[str] = ()  # of the images

    @property
    def classes(self) -> np.ndarray:
        """The indices of the explained classes."""
        given = None if self.class_name is None else len(self.images) * [self.class_name]
        return checked_classes(self.predictor, checked_images(self.predictor, self.images), given)

    def captions(self, classes: np.ndarray) -> list[str]:
        """Return two lines for each image: its class with the probability, and its name."""
        shares = self.predictor(list(self.images)) if len(self.images) else np.zeros((0, 1))
        return [
            f"{self.predictor.class_names[index]} {share[index]:.0%}\n{name}"
            for index, share, name in zip(classes, shares, self.names, strict=True)
        ]


class Finding(NamedTuple):
    """The results of an inspection."""

    figure: Figure
    arrays: dict[str, np.ndarray]


class Kind(NamedTuple):
    """Something that can be drawn."""

    draw: Callable[[Subject], Finding]
    needs_images: bool = True
    fits: Callable[[Subject], bool] = lambda subject: True


def _grad_cam(subject: Subject, *, plus_plus: bool) -> Finding:
    classes = subject.classes
    maps = grad_cam(subject.predictor, subject.images, classes, subject.layer, plus_plus=plus_plus)
    layer = find_layer(layers_of(subject.predictor), subject.layer).name
    name = "Grad-CAM++" if plus_plus else "Grad-CAM"
    title = f"{subject.title}: {name} at {layer}"
    figure = map_sheet(title, subject.images, {name: maps}, subject.captions(classes))
    return Finding(figure, {"maps": maps, "classes": classes})


def _attention(subject: Subject) -> Finding:
    maps = attention_map(subject.predictor, subject.images)
    title = f"{subject.title}: attention rollout"
    figure = map_sheet(title, subject.images, {"": maps}, subject.captions(subject.classes))
    rollout = attention_rollout(subject.predictor, subject.images)
    return Finding(figure, {"rollout": rollout, "maps": maps})


def _heads(subject: Subject) -> Finding:
    heads = attention_heads(subject.predictor, subject.images, subject.layer)
    title = f"{subject.title}: heads of {subject.layer or 'the last block'}"
    captions = subject.captions(subject.classes)
    rows = [list(subject.images), *heads.swapaxes(0, 1)]
    names = ["", *(f"head {number}" for number in range(1, heads.shape[1] + 1))]
    return Finding(image_sheet(title, rows, captions, names, colors="magma"), {"heads": heads})


def _has_attention(subject: Subject) -> bool:
    return any(layer.name.endswith(WEIGHTS) for layer in layers_of(subject.predictor))


# The command `netzoo inspect` describes them.
KINDS = {
    "grad-cam": Kind(lambda subject: _grad_cam(subject, plus_plus=False)),
    "grad-cam++": Kind(lambda subject: _grad_cam(subject, plus_plus=True)),
    "attention": Kind(_attention, fits=_has_attention),
    "heads": Kind(_heads, fits=_has_attention),
}


def inspect(kind: str, subject: Subject) -> Finding:
    """Draw a kind of `KINDS`.

    Raises:
      UserError: The network has nothing of this kind, images are missing, or the layer or class is
        unknown.
    """
    chosen = KINDS[kind]
    if not chosen.fits(subject):
        possible = ", ".join(name for name, other in KINDS.items() if other.fits(subject))
        raise UserError(f"{subject.title} has no {kind}; kinds for this network: {possible}")
    if chosen.needs_images and not len(subject.images):
        raise UserError(f"{kind} needs images; pass images, or folders of images")
    return chosen.draw(subject)
