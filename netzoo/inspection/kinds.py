"""The kinds of figures that `netzoo inspect` draws, by name, and the networks that they fit."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import numpy as np
import scipy.ndimage
from chex import ArrayTree
from matplotlib.figure import Figure

from netzoo.errors import UserError, printable
from netzoo.inspection.activations import activation_histograms, feature_layer, feature_maps
from netzoo.inspection.attention import attention_heads, attention_map, attention_rollout
from netzoo.inspection.attribution import integrated_gradients, occlusion
from netzoo.inspection.curves import deletion_and_insertion
from netzoo.inspection.figures import curves_figure, image_sheet, map_sheet
from netzoo.inspection.grad_cam import grad_cam
from netzoo.inspection.layer_figures import (
    activation_figure,
    batch_norm_figure,
    feature_figure,
    kernel_figure,
    position_figure,
)
from netzoo.inspection.layers import find_layer
from netzoo.inspection.programs import (
    MOST_IMAGES,
    checked_classes,
    checked_images,
    layers_of,
    probabilities,
)
from netzoo.inspection.scaling import scaled
from netzoo.inspection.tensors import (
    POSITIONS,
    batch_norm_statistics,
    first_kernels,
    position_similarity,
)
from netzoo.models.endpoint_shapes import WEIGHTS
from netzoo.models.fold_batch_norm import Folded
from netzoo.tasks.classification.predictor import Predictor


class Subject(NamedTuple):
    """A network, and what to draw of it."""

    title: str  # e.g. the name of the network
    predictor: Predictor
    # Returns the network and its variables as they were trained, without folded BatchNorm.
    trained: Callable[[], tuple[nn.Module, ArrayTree]]
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
        shares = probabilities(self.predictor, checked_images(self.predictor, self.images))
        return [
            f"{printable(self.predictor.class_names[index])} {share[index]:.0%}\n{printable(name)}"
            for index, share, name in zip(classes, shares, self.names, strict=True)
        ]


class Finding(NamedTuple):
    """The results of an inspection."""

    figure: Figure
    arrays: dict[str, np.ndarray]


class Kind(NamedTuple):
    """Something that can be drawn."""

    draw: Callable[[Subject], Finding]
    draws_images: bool = True  # else it draws the weights alone
    fits: Callable[[Subject], bool] = lambda subject: True
    options: tuple[str, ...] = ()  # fields of Subject that have an effect


def _grad_cam(subject: Subject, *, plus_plus: bool) -> Finding:
    classes = subject.classes
    maps = grad_cam(subject.predictor, subject.images, classes, subject.layer, plus_plus=plus_plus)
    layer = find_layer(layers_of(subject.predictor), subject.layer).name
    name = "Grad-CAM++" if plus_plus else "Grad-CAM"
    title = f"{subject.title}: {name} at {layer}"
    figure = map_sheet(title, subject.images, {name: maps}, subject.captions(classes))
    return Finding(figure, {"maps": maps, "classes": classes})


def _integrated_gradients(subject: Subject) -> Finding:
    classes = subject.classes
    found = integrated_gradients(subject.predictor, subject.images, classes)
    # A blur shows the regions; a few pixels are far above all others.
    strength = abs(found.attributions.sum(-1))
    strength = scipy.ndimage.gaussian_filter(strength, (0, 1, 1))
    largest = np.quantile(strength, 0.995, axis=(1, 2), keepdims=True)
    maps = np.minimum(strength / np.maximum(largest, 1e-30), 1)
    title = f"{subject.title}: integrated gradients"
    figure = map_sheet(title, subject.images, {"": maps}, subject.captions(classes))
    arrays = {"attributions": found.attributions, "difference": found.difference}
    return Finding(figure, {**arrays, "classes": classes})


def _occlusion(subject: Subject) -> Finding:
    classes = subject.classes
    falls = occlusion(subject.predictor, subject.images, classes)
    title = f"{subject.title}: fall of the probability when a region is covered"
    maps = {"": scaled(np.maximum(falls, 0))}
    figure = map_sheet(title, subject.images, maps, subject.captions(classes))
    return Finding(figure, {"falls": falls, "classes": classes})


def _curves(subject: Subject) -> Finding:
    predictor, images, classes = subject.predictor, subject.images, subject.classes
    gradients = abs(integrated_gradients(predictor, images, classes).attributions.sum(-1))
    maps = {
        "Grad-CAM": grad_cam(predictor, images, classes, subject.layer),
        "integrated gradients": scipy.ndimage.gaussian_filter(gradients, (0, 3, 3)),
        "random": np.random.default_rng(0).random(gradients.shape),
    }
    if _has_attention(subject):
        maps["attention rollout"] = attention_map(predictor, images)
    found = {
        name: deletion_and_insertion(predictor, images, own, classes) for name, own in maps.items()
    }
    arrays = {
        f"{name}: {part}": getattr(curves, part)
        for name, curves in found.items()
        for part in ("deletion", "insertion")
    }
    title = f"{subject.title}: deletion and insertion, mean of {len(images)} images"
    return Finding(curves_figure(title, found), arrays)


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


def _feature_maps(subject: Subject) -> Finding:
    layers, size = layers_of(subject.predictor), subject.predictor.preprocessing.crop_size
    layer = subject.layer or feature_layer(layers, size).name
    maps = feature_maps(subject.predictor, subject.images, layer)
    title = f"{subject.title}: feature maps of {layer}"
    captions = subject.captions(subject.classes)
    return Finding(feature_figure(title, subject.images, maps, captions), {"maps": maps})


def _activations(subject: Subject) -> Finding:
    found = activation_histograms(subject.predictor, subject.images)
    title = f"{subject.title}: activations of {min(len(subject.images), MOST_IMAGES)} images"
    arrays = {f"{name}: counts": histogram.counts for name, histogram in found.items()}
    arrays |= {f"{name}: edges": histogram.edges for name, histogram in found.items()}
    return Finding(activation_figure(title, found), arrays)


def _kernels(subject: Subject) -> Finding:
    kernels = first_kernels(subject.trained()[1])
    title = f"{subject.title}: {len(kernels)} kernels of the first layer"
    return Finding(kernel_figure(title, kernels), {"kernels": kernels})


def _positions(subject: Subject) -> Finding:
    similarity = position_similarity(subject.predictor.variables)
    title = f"{subject.title}: similarity of the position embeddings"
    return Finding(position_figure(title, similarity), {"similarity": similarity})


def _batch_norm(subject: Subject) -> Finding:
    size = subject.predictor.preprocessing.crop_size
    found = batch_norm_statistics(*subject.trained(), size)
    arrays = {
        f"{path}: {name}": value
        for path, statistics in found.items()
        for name, value in statistics._asdict().items()
    }
    return Finding(batch_norm_figure(f"{subject.title}: BatchNorm by depth", found), arrays)


def _has_attention(subject: Subject) -> bool:
    return any(layer.name.endswith(WEIGHTS) for layer in layers_of(subject.predictor))


_LAYER, _CLASS = "layer", "class_name"
_BOTH = (_LAYER, _CLASS)
# The command `netzoo inspect` describes them.
KINDS = {
    "grad-cam": Kind(lambda subject: _grad_cam(subject, plus_plus=False), options=_BOTH),
    "grad-cam++": Kind(lambda subject: _grad_cam(subject, plus_plus=True), options=_BOTH),
    "integrated-gradients": Kind(_integrated_gradients, options=(_CLASS,)),
    "occlusion": Kind(_occlusion, options=(_CLASS,)),
    "curves": Kind(_curves, options=_BOTH),
    "attention": Kind(_attention, fits=_has_attention, options=(_CLASS,)),
    "heads": Kind(_heads, fits=_has_attention, options=_BOTH),
    "feature-maps": Kind(_feature_maps, options=_BOTH),
    "activations": Kind(_activations),
    "kernels": Kind(_kernels, draws_images=False),
    "position-embedding": Kind(
        _positions, False, lambda subject: POSITIONS in subject.predictor.variables["params"]
    ),
    "batch-norm": Kind(
        _batch_norm, False, lambda subject: isinstance(subject.predictor.model, Folded)
    ),
}


def inspect(kind: str, subject: Subject) -> Finding:
    """Draw a kind of `KINDS`.

    Raises:
      UserError: The network has nothing of this kind; images are missing; the layer or class is
        unknown; or images, layer or class have no effect on this kind.
    """
    chosen = KINDS[kind]
    if not chosen.fits(subject):
        possible = ", ".join(name for name, other in KINDS.items() if other.fits(subject))
        raise UserError(f"{subject.title} has no {kind}; kinds for this network: {possible}")
    for option, name in ((_LAYER, "a layer"), (_CLASS, "a class")):
        if option not in chosen.options and getattr(subject, option) is not None:
            raise UserError(f"{kind} does not depend on {name}; omit it")
    if chosen.draws_images and not len(subject.images):
        raise UserError(f"{kind} needs images; pass images, or folders of images")
    if len(subject.images) and not chosen.draws_images:
        raise UserError(f"{kind} draws the weights and does not depend on images; omit them")
    return chosen.draw(subject)
