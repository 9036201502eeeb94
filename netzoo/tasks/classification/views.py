"""Test-time augmentation: the class probabilities are averaged over several views of an image.

Source: A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet Classification with Deep
  Convolutional Neural Networks", NIPS 2012, section 4.1 (ten crops; flips are two of them).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from netzoo.errors import UserError, unknown_name
from netzoo.tasks.classification.config import VIEWS


def view_size(kind: str, size: int, crop_pct: float) -> tuple[int, float]:
    """Return the side and the central crop of the images from which views are taken.

    Args:
      kind: One of `VIEWS`.
      size: Side of the network's images.
      crop_pct: Share of the shorter side that one view keeps.

    Raises:
      UserError: The kind is unknown, or `crop_pct` leaves no room for other crops.
    """
    if kind not in VIEWS:
        raise unknown_name("kind of test-time augmentation", kind, VIEWS)
    if kind != "crops":
        return size, crop_pct
    if (side := round(size / crop_pct)) == size:
        raise UserError(
            f"evaluation.tta is 'crops', but evaluation.crop_pct {crop_pct:g} keeps the whole "
            f"image at {size} pixels; lower evaluation.crop_pct, or set evaluation.tta to 'flip'"
        )
    return side, 1.0


def views(images: jax.Array, kind: str, size: int) -> jax.Array:
    """Return the views of images, `[views, batch, size, size, 3]`.

    "none" is the image, "flip" adds its mirror image, and "crops" are the four corners and the
    centre, with their mirror images. `images` are `[batch, side, side, 3]` with the side of
    `view_size`.
    """
    room = images.shape[1] - size
    corners = [(0, 0), (0, room), (room, 0), (room, room), (room // 2, room // 2)]
    places = corners if kind == "crops" else [(0, 0)]
    found = [images[:, y : y + size, x : x + size] for y, x in places]
    if kind != "none":
        found += [view[:, :, ::-1] for view in found]
    return jnp.stack(found)


def averaged_logits(
    logits_of: Callable[[jax.Array], jax.Array], images: jax.Array, kind: str, size: int
) -> jax.Array:
    """Return logits whose softmax is the mean of the probabilities of all views.

    With the kind "none", they are the network's own logits. The views are computed one after the
    other by one copy of the network, so they need the memory of one view.
    """
    if kind == "none":
        return logits_of(images)
    of_views = jax.lax.map(
        lambda view: jax.nn.log_softmax(logits_of(view)), views(images, kind, size)
    )
    return jax.nn.logsumexp(of_views, axis=0) - jnp.log(len(of_views))
