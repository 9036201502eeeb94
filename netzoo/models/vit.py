"""Vision Transformer (Dosovitskiy et al., arXiv:2010.11929).

Shape contract of `vit_b16` at 224x224 pixels (section 3.1 and Table 1 of the paper):

    images     [batch, 224, 224, 3]
    stem       [batch, 14, 14, 768]     projected patches of 16x16 pixels
    encoder    [batch, 197, 768]        class token and 14 * 14 patches; 12 blocks, then a norm
    pre_logits [batch, 768]             the class token
    logits     [batch, num_classes]

Blocks normalise before attention and MLP (equations 2 and 3). With `pool="gap"` there is no class
token and the patches are averaged (appendix D.3).

The position embedding is a parameter with one vector per token, so its length depends on the image
size passed to `init`. The sides of images must be multiples of the patch. To continue with images
of another size, resize the position embedding with `resize_position_embedding`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from netzoo.errors import UserError
from netzoo.layers import Conv, Dropout, Mlp, MultiHeadAttention, endpoint, endpoints_wanted, gelu
from netzoo.models.blocks import (
    block_endpoints,
    block_perturbations,
    check_normalized,
    classifier,
    drop_path_factors,
    scan_blocks,
)
from netzoo.models.registry import register

Pool = Literal["token", "gap"]


class Variant(NamedTuple):
    """One row of Table 1, and the size of the patches."""

    width: int  # of the tokens
    depth: int
    mlp_dim: int  # width between the two layers of an MLP
    heads: int
    patch: int  # side in pixels


# Ti and S are those of Touvron et al., arXiv:2012.12877, Table 1.
VARIANTS = {
    "vit_ti16": Variant(192, 12, 768, 3, 16),
    "vit_s16": Variant(384, 12, 1536, 6, 16),
    "vit_s32": Variant(384, 12, 1536, 6, 32),
    "vit_b8": Variant(768, 12, 3072, 12, 8),
    "vit_b16": Variant(768, 12, 3072, 12, 16),
    "vit_b32": Variant(768, 12, 3072, 12, 32),
    "vit_l16": Variant(1024, 24, 4096, 16, 16),
    "vit_l32": Variant(1024, 24, 4096, 16, 32),
    "vit_h14": Variant(1280, 32, 5120, 16, 14),
}


def resize_position_embedding(
    embedding: np.ndarray, grid: tuple[int, int], has_class_token: bool
) -> np.ndarray:
    """Interpolate a position embedding to another grid of patches, except for the class token.

    The interpolation is bilinear with aligned corners, as in the authors' code for fine-tuning at
    another size (section 3.2). timm instead uses antialiased bicubic interpolation.

    It maps `[1, positions, width]` of a square grid, in row-major order, to
    `[1, rows * columns (+ 1), width]` in the same dtype, where `grid` is rows and columns. The
    first position may be that of the class token.

    Raises:
      UserError: The positions do not form a square.
    """
    embedding = np.asarray(embedding)
    token, patches = np.split(embedding[0], [int(has_class_token)])
    side = math.isqrt(len(patches))
    if side * side != len(patches):
        raise UserError(
            f"a position embedding of {len(patches)} patches is not a square grid; "
            "only those of square images can be resized"
        )
    rows, columns = (_interpolation(side, size) for size in grid)
    old = patches.astype(np.float64).reshape(side, side, -1)
    resized = np.einsum("ri,cj,ijd->rcd", rows, columns, old)
    resized = resized.reshape(-1, embedding.shape[-1]).astype(embedding.dtype)
    return np.concatenate([token, resized])[None]


def _interpolation(old: int, new: int) -> np.ndarray:
    """Return `[new, old]` weights; row `i` interpolates at `i * (old - 1) / (new - 1)`."""
    places = np.linspace(0, old - 1, new)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old)))


class EncoderBlock(nn.Module):
    """Attention and MLP, each with a preceding norm and a residual connection."""

    norm: Callable[..., nn.Module]
    attention: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    dropout_rate: float  # of both branches
    train: bool
    details: bool  # whether to return the values of endpoints

    @nn.compact
    def __call__(
        self, x: jax.Array, factors: jax.Array | None, perturbations: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Map tokens `[batch, length, width]` to the same shape, as one step of the scan.

        If given, `factors` `[2, batch, 1, 1]` multiply the branches of attention and MLP.
        `perturbations` are added to the outputs of their names.

        Returns:
          The tokens, and if `details`, the outputs of `attention`, `mlp` and the block (`""`), and
          the weights of the attention `[batch, heads, length, length]`.
        """
        norm, dropout, train = self.norm, Dropout(self.dropout_rate), self.train
        outputs: dict[str, jax.Array] = {}

        def endpoint(name: str, value: jax.Array) -> jax.Array:
            outputs[name] = value + perturbations[name] if name in perturbations else value
            return outputs[name]

        attention = self.attention(name="attention")(
            norm(name="attention_norm")(x), train=train, details=self.details
        )
        if self.details:
            attention, outputs["/attention_weights"], _ = attention
        branch = dropout(endpoint("/attention", attention), train=train)
        x = x + (branch if factors is None else factors[0] * branch)
        mlp = endpoint("/mlp", self.mlp(name="mlp")(norm(name="mlp_norm")(x), train=train))
        branch = dropout(mlp, train=train)
        x = endpoint("", x + (branch if factors is None else factors[1] * branch))
        return x, outputs if self.details else {}


class Encoder(nn.Module):
    """Scanned blocks, with their parameters stacked under `blocks`, and a final norm."""

    depth: int
    block: dict[str, Any]  # fields of EncoderBlock
    drop_path_rate: float = 0.0  # of the last block's branches; see drop_path_rates

    @nn.compact
    def __call__(
        self, x: jax.Array, perturbations: dict[str, jax.Array], *, train: bool
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Map tokens `[batch, length, width]` to the same shape.

        `perturbations` are those of `EncoderBlock`, stacked.

        Returns:
          The tokens, and the stacked outputs of `EncoderBlock` if endpoints are requested.
        """
        blocks = scan_blocks(EncoderBlock, self.depth, in_axes=0)(
            **self.block, train=train, details=endpoints_wanted(self), name="blocks"
        )
        factors = drop_path_factors(self, self.drop_path_rate, self.depth, 2, x, train=train)
        x, outputs = blocks(x, factors, perturbations)
        return self.block["norm"](name="norm")(x), outputs


class ViT(nn.Module):
    """Vision Transformer.

    Attributes:
      variant: Widths, depth and patch size.
      num_classes: Length of the logits; 0 returns the features before them.
      pool: `"token"` classifies by a class token, `"gap"` by the average over the patches.
      representation_size: Width of `pre_logits`, a dense layer with tanh before the logits, as in
        pre-training (section 3.1, "one hidden layer"); None omits it.
      dropout_rate: Dropout rate of the embedded patches and the blocks; 0.1 for training on
        ImageNet from scratch (Table 3).
      attention_dropout_rate: Dropout rate of the attention weights; 0 in the papers.
      drop_path_rate: Drop path rate of the last block; 0.1 in Steiner et al., arXiv:2106.10270,
        section 3.3.
      norm_epsilon: LayerNorm's epsilon.
      gelu_approximate: Whether to compute GELU by its tanh formula, as the authors' JAX code does.
        PyTorch libraries compute it exactly, even with weights converted from that code.
      dtype: Compute dtype; parameters and logits are float32.
    """

    variant: Variant
    num_classes: int = 1000
    pool: Pool = "token"
    representation_size: int | None = None
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    norm_epsilon: float = 1e-6
    gelu_approximate: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images `[batch, height, width, 3]` to float32 logits `[batch, num_classes]`.

        Raises:
          UserError: The sides are not multiples of the patch, the position embedding belongs to
            another image size, or `pool` is unknown.
        """
        check_normalized(images)
        self._check(images.shape)
        x = self.embed(images, train=train)
        grid = x.shape[1:3]
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        if self.pool == "token":
            zeros, shape = nn.initializers.zeros, (1, 1, x.shape[-1])
            token = self.param("class_token", zeros, shape, jnp.float32)
            token = jnp.broadcast_to(token.astype(x.dtype), (x.shape[0], 1, x.shape[-1]))
            x = jnp.concatenate([token, x], axis=1)
        x = x + self._position_embedding((1, *x.shape[1:]), grid).astype(x.dtype)
        x = Dropout(self.dropout_rate)(x, train=train)
        encoder = Encoder(self.variant.depth, self.block(), self.drop_path_rate, name="encoder")
        perturbed = block_perturbations(
            self, "encoder", self.variant.depth, ("/attention", "/mlp", "")
        )
        x, outputs = encoder(x, perturbed, train=train)
        block_endpoints(self, "encoder", outputs)
        return self._classify(endpoint(self, "encoder", x), train=train)

    def block(self) -> dict[str, Any]:
        """Return the fields of `EncoderBlock`."""
        return {
            "norm": functools.partial(nn.LayerNorm, self.norm_epsilon, dtype=self.dtype),
            "attention": functools.partial(
                MultiHeadAttention,
                self.variant.heads,
                self.attention_dropout_rate,
                self.dtype,
            ),
            "mlp": functools.partial(
                Mlp,
                self.variant.mlp_dim,
                functools.partial(gelu, approximate=self.gelu_approximate),
                dropout_rate=self.dropout_rate,
                dtype=self.dtype,
                bias_init=nn.initializers.normal(1e-6),
            ),
            "dropout_rate": self.dropout_rate,
        }

    def embed(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images to a grid of tokens `[batch, rows, columns, width]`."""
        del train  # only the ResNet of a hybrid needs it
        return endpoint(self, "stem", self._embed_patches(images))

    def _embed_patches(self, x: jax.Array) -> jax.Array:
        """Project every patch, by a convolution with a stride equal to its kernel size."""
        return Conv(
            self.variant.width,
            self.variant.patch,
            stride=self.variant.patch,
            use_bias=True,
            padding=((0, 0), (0, 0)),
            dtype=self.dtype,
            kernel_init=nn.initializers.lecun_normal(),
            name="embedding",
        )(x)

    def pixels_per_token(self) -> int:
        """Return the side of the square of pixels that one token covers."""
        return self.variant.patch

    def _classify(self, x: jax.Array, *, train: bool) -> jax.Array:
        wide = jnp.promote_types(x.dtype, jnp.float32)
        x = x[:, 0].astype(wide) if self.pool == "token" else x.mean(1, dtype=wide)
        if self.representation_size is not None:
            x = nn.tanh(nn.Dense(self.representation_size, name="pre_logits")(x))
        return classifier(self, x, None, nn.initializers.zeros, train=train)

    def _position_embedding(self, shape: tuple[int, ...], grid: tuple[int, ...]) -> jax.Array:
        if self.has_variable("params", "position_embedding"):
            given: tuple[int, ...] = self.get_variable("params", "position_embedding").shape
            if given != shape:
                raise UserError(
                    f"images of {grid[0]}x{grid[1]} tokens need a position embedding {shape}; got "
                    f"{given}, of another image size; resize it with "
                    f"netzoo.models.vit.resize_position_embedding"
                )
        init = nn.initializers.normal(0.02)
        return self.param("position_embedding", init, shape, jnp.float32)

    def _check(self, shape: tuple[int, ...]) -> None:
        if self.pool not in get_args(Pool):
            raise UserError(f"pool is {self.pool!r}; expected one of {', '.join(get_args(Pool))}")
        side = self.pixels_per_token()
        if shape[1] % side or shape[2] % side:
            raise UserError(
                f"images are {shape[1]}x{shape[2]} pixels; {type(self).__name__} expects sides "
                f"that are multiples of {side}"
            )


for _name, _variant in VARIANTS.items():
    register(_name, functools.partial(ViT, variant=_variant))
