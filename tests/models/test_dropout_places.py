"""Where each family applies dropout and drop path, and at which rates."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from netzoo.layers import Dropout, DropPath
from netzoo.models import create_model

# Networks and their options, the size of images (0 for sentences), and the rates by path. The
# places in both branches of a ViT's block have one path; test_vit.py tests them.
PLACES = {
    # Szegedy et al., arXiv:1409.4842, section 5.
    "googlenet": ({}, 64, {"aux1/Dropout_0": 0.7, "aux2/Dropout_0": 0.7, "Dropout_0": 0.4}),
    "mobilenet_v1_025": ({}, 32, {"Dropout_0": 0.001}),
    # As in timm, blocks without a shortcut count, but have no drop path.
    "mobilenet_v2_035": (
        {"drop_path_rate": 0.8},
        32,
        {
            "Dropout_0": 0.2,
            **{
                f"stage{stage}_block{block}/drop_path": number / 20
                for number, (stage, block) in enumerate(
                    (stage, block)
                    for stage, blocks in enumerate((1, 2, 3, 4, 3, 3, 1), start=1)
                    for block in range(1, blocks + 1)
                )
                if block > 1
            },
        },
    ),
    "mobilenet_v3_small": (
        {"drop_path_rate": 0.5},
        32,
        {
            "Dropout_0": 0.2,
            "stage2_block2/drop_path": 0.1,
            "stage3_block2/drop_path": 0.2,
            "stage3_block3/drop_path": 0.25,
            "stage4_block2/drop_path": 0.35,
            "stage5_block2/drop_path": 0.45,
            "stage5_block3/drop_path": 0.5,
        },
    ),
    # Huang et al., arXiv:1603.09382, section 3: linear from 0 to that of the last block.
    "resnet18": (
        {"drop_path_rate": 0.7, "dropout_rate": 0.3},
        32,
        {
            **{
                f"stage{number // 2 + 1}_block{number % 2 + 1}/StochasticDepth_0": number / 10
                for number in range(8)
            },
            "Dropout_0": 0.3,
        },
    ),
    # Dosovitskiy et al., arXiv:2010.11929, appendix B.1.1; in attention by option.
    "vit_ti16": (
        {"dropout_rate": 0.3, "attention_dropout_rate": 0.1},
        32,
        {
            "Dropout_0": 0.3,
            "encoder/blocks/Dropout_0": 0.3,
            "encoder/blocks/mlp/Dropout_0": 0.3,
            "encoder/blocks/attention/Dropout_0": 0.1,
        },
    ),
    # Vaswani et al., arXiv:1706.03762, section 5.4: embeddings and every sublayer.
    "transformer_tiny": (
        {"dropout_rate": 0.3, "attention_dropout_rate": 0.1, "mlp_dropout_rate": 0.2},
        0,
        {
            "embedding_dropout": 0.3,
            **{
                f"{stack}/blocks/Dropout_{number}": 0.3
                for stack, sublayers in (("encoder", 2), ("decoder", 3))
                for number in range(sublayers)
            },
            "encoder/blocks/attention/Dropout_0": 0.1,
            "decoder/blocks/attention/Dropout_0": 0.1,
            "decoder/blocks/cross_attention/Dropout_0": 0.1,
            "encoder/blocks/mlp/Dropout_0": 0.2,
            "decoder/blocks/mlp/Dropout_0": 0.2,
        },
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_places_and_rates(name):
    """Protects regularisation, which evaluation does not show."""
    options, size, expected = PLACES[name]
    model = create_model(name, num_classes=5, **options)
    tokens = jnp.ones((2, 4), jnp.int32)
    inputs = (jnp.zeros((2, size, size, 3)),) if size else (tokens, tokens)
    variables = jax.eval_shape(lambda key: model.init(key, *inputs, train=False), jax.random.key(0))

    def dropped(train):
        found = {}

        def note(next_call, args, kwargs, context):
            layer = context.module
            if isinstance(layer, Dropout | DropPath) and context.method_name == "__call__":
                assert kwargs["train"] is train
                found["/".join(layer.path)] = layer.rate
            return next_call(*args, **kwargs)

        def run(variables, key):
            rngs, mutable = {"dropout": key}, ["batch_stats"]
            return model.apply(variables, *inputs, train=train, rngs=rngs, mutable=mutable)

        with nn.intercept_methods(note):
            jax.eval_shape(run, variables, jax.random.key(0))
        return found

    assert dropped(train=True) == pytest.approx(expected)
    assert dropped(train=False).items() <= dropped(train=True).items()
