"""Vision Transformer (Dosovitskiy et al., arXiv:2010.11929).

Shape contract of `vit_b16` at 224x224 pixels (section 3.1 and Table 1 of the paper):

    images     [batch, 224, 224, 3]
    stem       [batch, 14, 14, 768]     projected patches of 16x16 pixels
    encoder    [batch, 197, 768]        class token and 14 * 14 patches; 12 blocks, then a norm
    pre_logits [batch, 768]             the class token
    logits     [batch, num_classes]

Blocks normalise before attention and MLP (equations 2 and 3). With `pool="gap"` there is no class
token and the patches are averaged (appendix D.3).

Later networks differ in a few options. These weights, in timm's names, need the options:

    DeiT, DINO, MAE, augreg2   nothing; DINO and MAE have no head
    DeiT III                   `layer_scale`, `patch_positions_only`       arXiv:2204.07118
    CLIP                       `pre_norm`, and OpenAI's own `quick_gelu`   arXiv:2103.00020
    DINOv2                     `layer_scale`                               arXiv:2304.07193
    DINOv2 with registers      also `register_tokens`, `patch_positions_only`

The position embedding is a parameter with one vector per token, so its length depends on the image
size passed to `init`. The sides of images must be multiples of the patch. To continue with images
of another size, resize the position embedding with `netzoo.models.positions`.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

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

Pool = Literal["token", "gap", "patches"]


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
    "vit_s8": Variant(384, 12, 1536, 6, 8),
    "vit_b8": Variant(768, 12, 3072, 12, 8),
    "vit_b16": Variant(768, 12, 3072, 12, 16),
    "vit_b32": Variant(768, 12, 3072, 12, 32),
    "vit_l16": Variant(1024, 24, 4096, 16, 16),
    "vit_l32": Variant(1024, 24, 4096, 16, 32),
    "vit_h14": Variant(1280, 32, 5120, 16, 14),
}


def quick_gelu(x: jax.Array) -> jax.Array:
    """Return GELU by its sigmoid formula (Hendrycks and Gimpel, arXiv:1606.08415, section 2)."""
    return x * nn.sigmoid(1.702 * x)


class LayerScale(nn.Module):
    """One learned factor per channel (Touvron et al., arXiv:2103.17239, section 2.1)."""

    initial: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., width]` to the same shape."""
        init = nn.initializers.constant(self.initial)
        return x * self.param("scale", init, x.shape[-1:], jnp.float32).astype(x.dtype)


class EncoderBlock(nn.Module):
    """Attention and MLP, each with a preceding norm and a residual connection."""

    norm: Callable[..., nn.Module]
    attention: Callable[..., nn.Module]
    mlp: Callable[..., nn.Module]
    dropout_rate: float  # of both branches
    layer_scale: float | None  # initial factor of both branches, one per channel; None: no factor
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
        attention = self._scaled("attention_scale", endpoint("/attention", attention))
        branch = dropout(attention, train=train)
        x = x + (branch if factors is None else factors[0] * branch)
        mlp = endpoint("/mlp", self.mlp(name="mlp")(norm(name="mlp_norm")(x), train=train))
        branch = dropout(self._scaled("mlp_scale", mlp), train=train)
        x = endpoint("", x + (branch if factors is None else factors[1] * branch))
        return x, outputs if self.details else {}

    def _scaled(self, name: str, branch: jax.Array) -> jax.Array:
        return (
            branch if self.layer_scale is None else LayerScale(self.layer_scale, name=name)(branch)
        )


class Encoder(nn.Module):
    """Scanned blocks, with their parameters stacked under `blocks`, and a final norm."""

    depth: int
    block: dict[str, Any]  # fields of EncoderBlock
    drop_path_rate: float = 0.0  # of the last block's branches; see drop_path_rates
    final_norm: bool = True

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
        return self.block["norm"](name="norm")(x) if self.final_norm else x, outputs


class ViT(nn.Module):
    """Vision Transformer.

    Attributes:
      variant: Widths, depth and patch size.
      num_classes: Length of the logits; 0 returns the features before them.
      pool: `"token"` classifies by a class token, `"gap"` by the average over the patches, without
        a class token. `"patches"` also averages over the patches, but in a network with a class
        token. It is timm's `global_pool="avg"` if `class_token` is true, as in a fine-tuned MAE.
      norm_after_pool: Whether the last norm follows the average: timm's `fc_norm`, which is its
        default with `global_pool="avg"`.
      pre_norm: Whether a norm precedes the blocks; then the patch embedding has no bias. timm's
        `pre_norm`. CLIP has it, with a `norm_epsilon` of 1e-5.
      register_tokens: Number of additional tokens (Darcet et al., arXiv:2309.16588): timm's
        `reg_tokens`.
      patch_positions_only: Whether only the patches have position embeddings: timm's
        `no_embed_class`.
      layer_scale: Initial value of the factors of `LayerScale` on every branch: timm's
        `init_values`; 1e-5 in DINOv2. None omits them.
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
      quick_gelu: Whether to compute GELU by its sigmoid formula instead, as OpenAI's CLIP does:
        timm's `act_layer="quick_gelu"`, and the networks with `quickgelu` in their names.
      dtype: Compute dtype; parameters and logits are float32.
    """

    variant: Variant
    num_classes: int = 1000
    pool: Pool = "token"
    norm_after_pool: bool = False
    pre_norm: bool = False
    register_tokens: int = 0
    patch_positions_only: bool = False
    layer_scale: float | None = None
    representation_size: int | None = None
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    norm_epsilon: float = 1e-6
    gelu_approximate: bool = False
    quick_gelu: bool = False
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
        x = self._tokens(x.reshape(x.shape[0], -1, x.shape[-1]), grid)
        x = Dropout(self.dropout_rate)(x, train=train)
        fields = self.block()
        if self.pre_norm:
            x = fields["norm"](name="embedding_norm")(x)
        depth, final_norm = self.variant.depth, not self.norm_after_pool
        encoder = Encoder(depth, fields, self.drop_path_rate, final_norm, name="encoder")
        perturbed = block_perturbations(
            self, "encoder", self.variant.depth, ("/attention", "/mlp", "")
        )
        x, outputs = encoder(x, perturbed, train=train)
        block_endpoints(self, "encoder", outputs)
        return self._classify(endpoint(self, "encoder", x), train=train)

    def block(self) -> dict[str, Any]:
        """Return the fields of `EncoderBlock`."""
        exact_or_tanh = functools.partial(gelu, approximate=self.gelu_approximate)
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
                quick_gelu if self.quick_gelu else exact_or_tanh,
                dropout_rate=self.dropout_rate,
                dtype=self.dtype,
                bias_init=nn.initializers.normal(1e-6),
            ),
            "dropout_rate": self.dropout_rate,
            "layer_scale": self.layer_scale,
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
            use_bias=not self.pre_norm,
            padding=((0, 0), (0, 0)),
            dtype=self.dtype,
            kernel_init=nn.initializers.lecun_normal(),
            name="embedding",
        )(x)

    def pixels_per_token(self) -> int:
        """Return the side of the square of pixels that one token covers."""
        return self.variant.patch

    def tokens_before_patches(self) -> int:
        """Return the number of class and register tokens."""
        return (self.pool != "gap") + self.register_tokens

    def positions_before_patches(self) -> int:
        """Return the number of class and register tokens that have a position embedding."""
        return 0 if self.patch_positions_only else self.tokens_before_patches()

    def _tokens(self, patches: jax.Array, grid: tuple[int, ...]) -> jax.Array:
        """Put the class and register tokens before the patches; add the position embedding."""

        def others(name: str, count: int, init: nn.initializers.Initializer) -> jax.Array:
            shape = (count, patches.shape[-1])
            tokens = self.param(name, init, (1, *shape), jnp.float32).astype(patches.dtype)
            return jnp.broadcast_to(tokens, (patches.shape[0], *shape))

        def positioned(x: jax.Array) -> jax.Array:
            return x + self._position_embedding((1, *x.shape[1:]), grid).astype(x.dtype)

        first = [] if self.pool == "gap" else [others("class_token", 1, nn.initializers.zeros)]
        if self.register_tokens:
            init = nn.initializers.normal(1e-6)
            first.append(others("register_tokens", self.register_tokens, init))
        if self.patch_positions_only:
            return jnp.concatenate([*first, positioned(patches)], axis=1)
        return positioned(jnp.concatenate([*first, patches], axis=1))

    def _classify(self, x: jax.Array, *, train: bool) -> jax.Array:
        wide = jnp.promote_types(x.dtype, jnp.float32)
        if self.pool == "token":
            x = x[:, 0].astype(wide)
        else:
            x = x[:, self.tokens_before_patches() :].mean(1, dtype=wide)
        if self.norm_after_pool:
            x = nn.LayerNorm(self.norm_epsilon, name="pooled_norm")(x)
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
                    f"netzoo.models.positions.resize_position_embedding"
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
for _name in ("s", "b", "l"):
    _variant = VARIANTS[f"vit_{_name}16"]._replace(patch=14)
    _options: dict[str, Any] = {"variant": _variant, "layer_scale": 1e-5}
    register(f"vit_{_name}14_dinov2", functools.partial(ViT, **_options), image_size=518)
    _options |= {"register_tokens": 4, "patch_positions_only": True}
    register(f"vit_{_name}14_reg4_dinov2", functools.partial(ViT, **_options), image_size=518)
for _name in ("b32", "b16", "l14", "h14"):
    _variant = (
        VARIANTS["vit_l16"]._replace(patch=14) if _name == "l14" else VARIANTS[f"vit_{_name}"]
    )
    _options = {"variant": _variant, "pre_norm": True, "norm_epsilon": 1e-5}
    register(f"vit_{_name}_clip", functools.partial(ViT, **_options))
