"""The sizes of training batches and images, which have to fit the data and the network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from netzoo.errors import UserError
from netzoo.models.summary import variable_shapes


def batch_size(config: ConfigDict, images: int) -> int:
    """Return `train.batch_size`; with fewer images, a multiple of `grad_accum_steps`.

    Raises:
      UserError: There are fewer images than parts of a batch.
    """
    parts = config.train.grad_accum_steps
    if parts > images:
        raise UserError(
            f"train.grad_accum_steps is {parts}, and {config.data.source} "
            f"{config.data.train_split} has only {images} examples; use at most {images}"
        )
    return min(config.train.batch_size, images // parts * parts)


def batch_shapes(config: ConfigDict, classes: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of a training batch with the largest of `train.image_sizes`."""
    rows, sizes = config.train.batch_size, dict(config.train.image_sizes)
    side = max({0: config.data.image_size, **sizes}.values())
    image = jax.ShapeDtypeStruct((rows, side, side, 3), jnp.uint8)
    label = jax.ShapeDtypeStruct((rows,), jnp.int32)
    if config.data.multi_label:
        label = jax.ShapeDtypeStruct((rows, classes), jnp.float32)
    return {"image": image, "label": label}


def size_notes(config: ConfigDict, images: int) -> list[str]:
    """Report a smaller batch, images that an epoch leaves out, and image sizes never reached."""
    batch, epochs, notes = batch_size(config, images), config.train.epochs, []
    if batch < config.train.batch_size:
        notes.append(
            f"train.batch_size is {config.train.batch_size}; with {images} images, batches have "
            f"{batch}"
        )
    if (repeats := config.augment.repeats) > 1:
        seen = -(-(images // batch * batch) // repeats)
        notes.append(
            f"augment.repeats is {repeats}, so each epoch has {seen:,} of the {images:,} "
            "training images, not always the same ones"
        )
    elif config.train.balance != "sampling" and (left_out := images % batch):
        notes.append(
            f"batches have {batch} images, so each epoch leaves out {left_out} of the "
            f"{images:,} training images, not always the same ones"
        )
    if late := [pair for pair in config.train.image_sizes if pair[0] >= epochs]:
        notes.append(
            f"train.image_sizes has {late[0][1]} px from epoch {late[0][0]} on; the run has only "
            f"{epochs} epochs, the first of which is 0"
        )
    return notes


def check_image_sizes(config: ConfigDict, model: nn.Module) -> None:
    """Check that the network has the same variables for all image sizes of a run.

    Raises:
      UserError: The variables depend on the image size, or an image is too small.
    """
    usual, sizes = config.data.image_size, {size for _, size in config.train.image_sizes}
    shapes = {size: variable_shapes(model, size) for size in sorted(sizes | {usual})}
    for size in sizes:
        if shapes[size] != shapes[usual]:
            raise UserError(
                f"train.image_sizes has images of {size} px, and data.image_size is {usual}; the "
                f"parameters of {config.model.name} depend on the image size. Train it on one "
                "size: --config.train.image_sizes='()'"
            )
