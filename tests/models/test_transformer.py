"""The Transformer: published sizes, masks, dropout and PyTorch's names."""

import functools
import math

import chex
import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.layers import MultiHeadAttention
from netzoo.models import create_model
from netzoo.models.transformer import VARIANTS, Transformer, Variant, sinusoidal_positions
from netzoo.weights.families import layouts
from netzoo.weights.state_dict import to_tensors, to_variables
from tests.conftest import slow
from tests.models.small_transformer import (
    SMALL,
    SOURCE,
    TARGET,
    VOCABULARY,
    draw,
    shapes,
    small,
)


def count(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.fixture(scope="module")
def variables():
    return draw(small())


@pytest.fixture(scope="module")
def logits():
    """The evaluating network, `logits(variables, source, target)`."""
    return jax.jit(lambda *args: small().apply(*args, train=False))


@pytest.mark.parametrize(
    ("name", "total", "stacks"),
    [
        ("transformer_tiny", 37_000 * 128 + 1_325_056, 1_325_056),
        ("transformer_base", 63_082_496, 44_138_496),
        ("transformer_big", 214_245_376, 176_357_376),
    ],
)
def test_sizes_with_the_vocabulary_of_the_paper(name, total, stacks):
    """The default is post-LN with one shared embedding, biases and no final norm."""
    params = shapes(create_model(name, num_classes=37_000))["params"]
    assert count(params) == total
    assert count([params["encoder"], params["decoder"]]) == stacks


def test_sizes_of_options():
    """Separate embeddings are two more matrices; pre-LN adds final norms."""
    base = count(shapes(small()))
    assert count(shapes(small(share_embeddings=False))) == base + 2 * VOCABULARY * SMALL.width
    assert count(shapes(small(norm_first=True))) == base + 2 * 2 * SMALL.width
    assert count(shapes(small(final_norm=True))) == base + 2 * 2 * SMALL.width
    assert count(shapes(small(norm_first=True, final_norm=False))) == base


def test_shape_contract_of_the_docstring():
    """Every layer of the published network has an endpoint."""
    model = create_model("transformer_base", num_classes=37_000)
    batch, source, target = 3, SOURCE.shape[1], TARGET.shape[1]

    def forward(key):
        tree = model.init(key, SOURCE, TARGET, train=False)
        return model.apply(tree, SOURCE, TARGET, train=False, mutable=["endpoints"])

    logits, state = jax.eval_shape(forward, jax.random.key(0))
    expected = {"pre_logits": (batch, target, 512)}
    for block in range(1, 7):
        expected |= {
            f"encoder/block{block}": (batch, source, 512),
            f"encoder/block{block}/attention_weights": (batch, 8, source, source),
            f"decoder/block{block}": (batch, target, 512),
            f"decoder/block{block}/attention_weights": (batch, 8, target, target),
            f"decoder/block{block}/cross_attention_weights": (batch, 8, target, source),
        }
    assert {name: value.shape for name, value in state["endpoints"].items()} == expected
    assert (logits.shape, logits.dtype) == ((batch, target, 37_000), jnp.float32)


def test_a_deeper_network_is_no_longer_program():
    """The layers are scanned, so the program does not grow with the depth."""

    def size(model):
        def loss(params):
            return model.apply({"params": params}, SOURCE, TARGET, train=False).sum()

        return len(str(jax.make_jaxpr(jax.grad(loss))(shapes(model)["params"])).splitlines())

    deep = Transformer(SMALL._replace(layers=6), VOCABULARY)
    assert size(deep) == size(small())
    leaves = jax.tree.leaves(shapes(deep)["params"]["decoder"]["blocks"])
    assert {leaf.shape[0] for leaf in leaves} == {6}


def test_the_paper_s_dropout_rates():
    """Dropout rates are those of Table 3, with none inside sublayers."""
    rates = {name: create_model(name).dropout_rate for name in VARIANTS}
    assert rates == {"transformer_tiny": 0.3, "transformer_base": 0.1, "transformer_big": 0.3}
    model = create_model("transformer_base")
    assert model.attention_dropout_rate == model.mlp_dropout_rate == 0


def test_positions_are_the_formula_of_the_paper():
    """PE(pos, 2i) = sin(pos / 10000^(2i / d)), PE(pos, 2i + 1) its cosine: interleaved."""
    table = sinusoidal_positions(7, 6)
    for position in range(7):
        for i in range(3):
            angle = position / 10_000 ** (2 * i / 6)
            assert table[position, 2 * i] == pytest.approx(math.sin(angle), abs=1e-15)
            assert table[position, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-15)


def test_embeddings_are_scaled_and_tied(variables):
    """Embeddings are scaled by sqrt(d), and the logits use the transposed matrix (section 3.4)."""

    def is_input(module, _):
        return module.name == "embedding_dropout"

    logits, state = jax.jit(
        lambda tree: small().apply(
            tree,
            SOURCE,
            TARGET,
            train=False,
            capture_intermediates=is_input,
            mutable=["intermediates", "endpoints"],
        )
    )(variables)
    matrix = np.asarray(variables["params"]["embedding"]["embedding"])
    seen = state["intermediates"]["embedding_dropout"]["__call__"]
    for tokens, value in zip((SOURCE, TARGET), seen, strict=True):
        positions = sinusoidal_positions(tokens.shape[1], SMALL.width)
        expected = matrix[tokens] * math.sqrt(SMALL.width) + positions
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)
    expected = np.asarray(state["endpoints"]["pre_logits"]) @ matrix.T
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_embeddings_begin_with_variance_one_over_width():
    """Initial embeddings and logits have variance 1."""
    model = Transformer(SMALL._replace(width=64), 1000)
    init = jax.jit(lambda key: model.init(key, SOURCE, TARGET, train=False)["params"]["embedding"])
    matrix = init(jax.random.key(0))["embedding"]
    assert float(matrix.std()) == pytest.approx(1 / 8, rel=0.05)


def test_no_position_sees_a_later_one(logits, variables):
    """A token changes only its position and later ones."""
    before = logits(variables, SOURCE, TARGET)
    for position in range(TARGET.shape[1]):
        other = TARGET.copy()
        other[:, position] = 6
        after = logits(variables, SOURCE, other)
        np.testing.assert_array_equal(before[:, :position], after[:, :position])
        assert (np.abs(before - after).max(-1)[:, position:] > 1e-3).all()


def test_the_encoder_sees_both_ways(variables):
    """The encoder has no causal mask: the first output depends on the last token."""
    other = SOURCE.copy()
    other[0, -1] = 2
    encode = jax.jit(lambda source: small().apply(variables, source, train=False, method="encode"))
    assert np.abs(encode(SOURCE)[0, 0] - encode(other)[0, 0]).max() > 1e-3


@pytest.mark.parametrize("pad_id", [slow(0), 10])
def test_padding_never_changes_an_output(variables, pad_id):
    """Padding does not change the logits of a sentence."""
    model = small(pad_id=pad_id)
    source = np.where(SOURCE == 0, pad_id, SOURCE)
    apply = jax.jit(lambda source, target: model.apply(variables, source, target, train=False))
    together = apply(source, TARGET)
    alone = apply(source[1:2, :2], TARGET[1:2, :2])
    np.testing.assert_allclose(together[1, :2], alone[0], rtol=1e-5, atol=1e-5)
    unpadded = apply(np.where(source == pad_id, 4, source), TARGET)
    assert np.abs(together - unpadded).max() > 1e-3


def test_a_row_of_padding_is_harmless(logits, variables):
    """Empty examples have finite logits and do not affect others."""
    filled = SOURCE.copy()
    filled[1] = 0
    out, before = logits(variables, filled, TARGET), logits(variables, SOURCE, TARGET)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[::2], before[::2])


def test_asking_for_attention_changes_no_logits(logits, variables):
    """Attention weights sum to 1 and are 0 at masked positions."""
    asked = jax.jit(
        lambda *args: small().apply(*args, train=False, mutable=["endpoints"]),
    )
    found, state = asked(variables, SOURCE, TARGET)
    np.testing.assert_array_equal(found, logits(variables, SOURCE, TARGET))
    padding = np.broadcast_to((SOURCE == 0)[:, None, None], (3, 4, 1, 5))
    asked_for = {n: w for n, w in state["endpoints"].items() if n.endswith("attention_weights")}
    assert len(asked_for) == 2 + 2 * 2, "one in a block of the encoder, two in one of the decoder"
    for name, weights in asked_for.items():
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
        if name.startswith("decoder") and not name.endswith("cross_attention_weights"):
            assert (np.triu(weights, 1) == 0).all()
        else:
            assert (np.where(padding, weights, 0) == 0).all()


def test_endpoints_are_in_the_order_of_the_layers(variables):
    """Endpoints are in the order of the blocks; the decoder reads the last."""
    encode = jax.jit(
        lambda tree: small().apply(
            tree, SOURCE, train=False, method="encode", mutable=["endpoints"]
        )
    )
    memory, state = encode(variables)
    np.testing.assert_array_equal(memory, state["endpoints"]["encoder/block2"])
    assert np.abs(memory - state["endpoints"]["encoder/block1"]).max() > 0.1


def test_bfloat16(variables):
    """In half precision, logits are float32 and masks do not overflow."""
    model = small(dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(model))} == {jnp.dtype("float32")}
    logits, state = jax.jit(
        lambda tree: model.apply(tree, SOURCE, TARGET, train=False, mutable=["endpoints"])
    )(variables)
    found = state["endpoints"]
    chex.assert_tree_all_finite((logits, found))
    assert logits.dtype == found["decoder/block1/attention_weights"].dtype == jnp.float32
    assert found["pre_logits"].dtype == found["encoder/block1"].dtype == jnp.bfloat16


def test_attention_learns_in_bfloat16():
    """Attention scores are float32 products of bfloat16 numbers, with bfloat16 gradients."""
    layer = MultiHeadAttention(2, dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (2, 3, 8), jnp.bfloat16)
    tree = jax.jit(functools.partial(layer.init, train=False))(jax.random.key(1), x)

    def loss(tree, x, layer):
        return jnp.square(layer.apply(tree, x, train=False)).astype(jnp.float32).sum()

    gradient = jax.jit(jax.grad(loss, argnums=1), static_argnums=2)
    found = gradient(tree, x, layer)
    exact = gradient(tree, x.astype(jnp.float32), MultiHeadAttention(2))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.05 * np.abs(exact).max())


@pytest.mark.slow  # tests/parity compares the gradient of every parameter
def test_every_parameter_learns():
    """Every parameter has a nonzero gradient, except for the bias of keys.

    It adds a constant to all scores of a query, which does not change the softmax.
    """
    model = small(share_embeddings=False)

    def loss(params):
        key = jax.random.key(1)
        out = model.apply({"params": params}, SOURCE, TARGET, train=True, rngs={"dropout": key})
        return jnp.square(out - 1).sum()

    gradients = jax.jit(jax.grad(loss))(draw(model)["params"])
    chex.assert_tree_all_finite(gradients)
    for path, leaf in flax.traverse_util.flatten_dict(gradients).items():
        layers = leaf if "blocks" in path else leaf[None]
        norms = np.asarray([np.linalg.norm(layer) for layer in layers])
        assert (norms < 1e-3).all() if path[-2:] == ("key", "bias") else (norms > 1e-2).all(), path


def test_every_layer_has_its_own_dropout():
    """Each scanned layer has its own dropout mask."""
    model = small(norm_first=True, dropout_rate=0.5)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes(model)["params"])
    # Now every block only adds the dropped-out bias of its MLP.
    project = params["encoder"]["blocks"]["mlp"]["project"]
    project["bias"] = jnp.ones_like(project["bias"])
    encode = jax.jit(
        lambda params: model.apply(
            {"params": params},
            SOURCE,
            train=True,
            method="encode",
            rngs={"dropout": jax.random.key(0)},
            mutable=["endpoints", "intermediates"],
            capture_intermediates=lambda module, _: module.name == "embedding_dropout",
        )
    )
    _, state = encode(params)
    outputs = [state["endpoints"][f"encoder/block{block}"] for block in (1, 2)]
    second = np.asarray(outputs[1] - outputs[0])
    np.testing.assert_allclose(np.unique(second.round(4)), [0, 2])
    first = np.asarray(outputs[0] - state["intermediates"]["embedding_dropout"]["__call__"][0])
    assert 0.3 < (first.round() == second.round()).mean() < 0.7


@pytest.mark.parametrize("rate", ["dropout_rate", "attention_dropout_rate", "mlp_dropout_rate"])
def test_each_dropout_acts_in_training_only(variables, rate):
    """Dropout depends only on the key, and evaluation needs no key."""
    off = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0, "mlp_dropout_rate": 0.0}
    model = small(**{**off, rate: 0.3})

    @functools.partial(jax.jit, static_argnames="train")
    def encode(key, train):
        rngs = {"dropout": key} if train else None
        return model.apply(variables, SOURCE, train=train, method="encode", rngs=rngs)

    first, same, other = (encode(jax.random.key(key), train=True) for key in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first - encode(jax.random.key(0), train=False)).max() > 1e-3
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(lambda: model.apply(variables, SOURCE, TARGET, train=True))


@pytest.mark.parametrize("options", [{}, {"share_embeddings": False, "final_norm": True}])
def test_pytorch_names_and_back(options):
    """Every tensor has a name in PyTorch, with joint queries, keys and values."""
    model = small(**options)
    tree = jax.tree.map(np.asarray, draw(model))
    layout = layouts(model)["torch"](model, shapes(model))
    tensors = to_tensors(tree, layout)
    assert tensors["decoder.layers.1.multihead_attn.in_proj_weight"].shape == (48, 16)
    assert ("decoder.norm.weight" in tensors) == bool(options)
    assert ("embedding.weight" in tensors) == (not options)
    query = tree["params"]["decoder"]["blocks"]["cross_attention"]["query"]["kernel"]
    joint = tensors["decoder.layers.1.multihead_attn.in_proj_weight"]
    np.testing.assert_array_equal(joint[:16], query[1].T)
    chex.assert_trees_all_equal(to_variables(tensors, layout, shapes(model), "tensors"), tree)


def test_another_vocabulary_leaves_the_embeddings_out():
    """With another vocabulary, only the embeddings and logits are re-initialised."""
    trained = jax.tree.map(np.asarray, draw(small()))
    model = Transformer(SMALL, VOCABULARY + 3)
    layout = layouts(model)["torch"](model, shapes(model))
    found = to_variables(to_tensors(trained, layout), layout, shapes(model), "tensors")
    assert set(found["params"]) == {"encoder", "decoder"}


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), TARGET, r"source is float32\[2, 8, 8, 3\]"),
        (SOURCE, TARGET.astype(np.float32), r"target is float32\[3, 4\]"),
        (SOURCE[0], TARGET, r"source is int32\[5\]; expected integer tokens \[batch, length\]"),
    ],
)
def test_what_is_no_token_is_an_error(source, target, message):
    """Images and unbatched sentences are errors with the expected shape."""
    with pytest.raises(UserError, match=message):
        jax.eval_shape(
            lambda key: small().init(key, source, target, train=False), jax.random.key(0)
        )


def test_there_is_no_transformer_without_vocabulary():
    """`num_classes=0` is an error."""
    with pytest.raises(UserError, match="size of the vocabulary"):
        shapes(create_model("transformer_tiny", num_classes=0))


def test_heads_divide_the_width():
    """An invalid number of heads is an error."""
    with pytest.raises(UserError, match="num_heads is 5, which does not divide the width 16; use"):
        shapes(Transformer(SMALL._replace(heads=5), VOCABULARY))


def test_a_configuration_can_name_any_size():
    """`variant` may be a tuple, as in configurations."""
    model = create_model("transformer_tiny", 11, variant=(1, 16, 32, 2, 0.1), dropout_rate=0.1)
    assert model == create_model(
        "transformer_tiny", 11, variant=Variant(1, 16, 32, 2, 0.1), dropout_rate=0.1
    )
    assert count(shapes(model)["params"]) < 10_000
