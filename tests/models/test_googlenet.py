"""GoogLeNet equals a NumPy reference, and details of its variants."""

import functools

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.errors import UserError
from netzoo.layers import BatchNorm, Conv, Dropout
from netzoo.models import create_model
from netzoo.models.blocks import ConvNormAct
from netzoo.models.googlenet import AuxiliaryClassifier
from netzoo.weights.families import layouts
from netzoo.weights.state_dict import to_tensors, to_variables
from tests.models.plain_googlenet import PlainGoogLeNet

# Compiles in half the time, with the same results.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

NAMES = ("googlenet", "googlenet_bn", "googlenet_tv")
CLASSES = 5
# Parameters without auxiliary classifiers and with 5 classes, and running statistics.
SIZES = {
    "googlenet": (5_978_677, 0),
    "googlenet_bn": (5_985_957, 14_560),
    "googlenet_tv": (5_605_029, 14_560),
}
# Side at 224 pixels and channels of every Inception module (Table 1).
BLOCKS = {
    "stage3/block1": (28, 256),
    "stage3/block2": (28, 480),
    "stage4/block1": (14, 512),
    "stage4/block2": (14, 512),
    "stage4/block3": (14, 512),
    "stage4/block4": (14, 528),
    "stage4/block5": (14, 832),
    "stage5/block1": (7, 832),
    "stage5/block2": (7, 1024),
}


def small(name="googlenet", **options):
    """Five classes and no dropout."""
    options = {"dropout_rate": 0.0, "auxiliary_dropout_rate": 0.0, **options}
    return create_model(name, num_classes=CLASSES, **options)


@functools.cache
def shapes(model, size=64):
    """Return what `init` would, as shapes."""
    images = jnp.zeros((2, size, size, 3))
    return jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))


def draw(model):
    """Return float64 variables from NumPy that keep the variance of the signal."""
    rng = np.random.default_rng(0)
    flat = flax.traverse_util.flatten_dict(shapes(model))
    for path, leaf in flat.items():
        drawn = rng.normal(size=leaf.shape)
        flat[path] = {
            "kernel": drawn * np.sqrt(2 / np.prod(leaf.shape[:-1])),
            "scale": 1 + 0.1 * drawn,
            "bias": 0.1 * drawn,
            "mean": 0.1 * drawn,
            "var": 1 + 0.2 * np.tanh(drawn),
        }[path[-1]]
    return flax.traverse_util.unflatten_dict(flat)


def layers_of(model):
    """Return every module that runs in `init`."""
    seen = []

    def note(next_call, args, kwargs, context):
        seen.append(context.module)
        return next_call(*args, **kwargs)

    with nn.intercept_methods(note):
        shapes.__wrapped__(model)  # cached results would not run the modules
    return seen


@pytest.fixture(scope="module")
def images():
    """At 64 pixels, stage 4 is 4x4, so the auxiliary classifiers do not pool."""
    return np.random.default_rng(1).normal(size=(2, 64, 64, 3))


@pytest.fixture(scope="module")
def variables():
    return draw(small())


@pytest.fixture(scope="module")
def reference(variables, images):
    """The outputs of the reference network, including the logits."""
    network = PlainGoogLeNet(variables)
    network.outputs["logits"] = network(images)
    return network.outputs


@pytest.fixture(scope="module")
def training(variables, images):
    """All training outputs in float64, and the gradients of the task's loss."""
    model = small(dtype=jnp.float64)

    def loss(params, images):
        logits, state = model.apply(
            {"params": params},
            images,
            train=True,
            mutable=["endpoints", "auxiliary"],
            rngs={"dropout": jax.random.key(0)},
        )
        values = [logits, *state["auxiliary"].values()]
        losses = [-nn.log_softmax(value)[:, 0].mean() for value in values]
        total = losses[0] + model.auxiliary_weight * sum(losses[1:])
        return total, {"logits": logits, **state["endpoints"], **state["auxiliary"]}

    with jax.enable_x64(True):
        results = compiled(jax.grad(loss, has_aux=True))(variables["params"], images)
        return jax.tree.map(np.asarray, results)


@pytest.mark.parametrize("name", NAMES)
def test_size_without_auxiliary_classifiers(name):
    """`auxiliary=False` has the published parameter count."""
    tree = shapes(small(name, auxiliary=False))
    parameters, statistics = SIZES[name]
    assert sum(x.size for x in jax.tree.leaves(tree["params"])) == parameters
    assert sum(x.size for x in jax.tree.leaves(tree.get("batch_stats", {}))) == statistics


@pytest.mark.parametrize(
    ("name", "padding"), [*((name, "torch") for name in NAMES), ("googlenet_tv", "same")]
)
def test_shape_contract_of_the_docstring(name, padding):
    """Shapes are those of Table 1 at 224 pixels, in both padding conventions."""
    model = create_model(name, padding=padding)
    images = jnp.zeros((2, 224, 224, 3))

    def forward(key):
        tree = model.init(key, images, train=False)
        rngs = {"dropout": key}
        return model.apply(tree, images, train=True, rngs=rngs, mutable=True)

    logits, state = jax.eval_shape(forward, jax.random.key(0))
    assert {name: value.shape for name, value in state["endpoints"].items()} == {
        "stem": (2, 28, 28, 192),
        **{block: (2, side, side, channels) for block, (side, channels) in BLOCKS.items()},
        "pre_logits": (2, 1024),
    }
    auxiliary = {name: value.shape for name, value in state["auxiliary"].items()}
    assert auxiliary == {"aux1": (2, 1000), "aux2": (2, 1000)}
    assert logits.shape == (2, 1000)


@pytest.mark.slow  # tests/parity compares the gradients
def test_training_equals_the_plain_network(training, reference):
    """All outputs equal the reference in float64. No library has the paper's network."""
    _, outputs = training
    assert outputs.keys() == reference.keys()
    for name, value in outputs.items():
        error = np.abs(value - reference[name]).max() / np.abs(reference[name]).max()
        assert error < 1e-10, name


@pytest.mark.slow  # tests/parity compares the logits
def test_evaluation_equals_the_plain_network(variables, images, reference):
    """The float32 logits equal the reference."""
    apply = compiled(lambda variables, x: small().apply(variables, x, train=False))
    logits = apply(*jax.tree.map(jnp.float32, (variables, images)))
    error = np.abs(logits - reference["logits"]).max() / np.abs(reference["logits"]).max()
    assert error < 1e-5


@pytest.mark.slow
def test_batch_norm_equals_the_plain_network(images):
    """BatchNorm replaces biases and response normalisation, but keeps 5x5 kernels."""
    variables = draw(small("googlenet_bn"))
    model = small("googlenet_bn", dtype=jnp.float64)
    with jax.enable_x64(True):
        apply = compiled(lambda v, x: model.apply(v, x, train=False))
        logits = np.asarray(apply(variables, images))
    expected = PlainGoogLeNet(variables)(images)
    assert np.abs(logits - expected).max() / np.abs(expected).max() < 1e-10


@pytest.mark.slow  # tests/parity compares the gradients
def test_every_parameter_learns(training):
    """Every parameter has a nonzero gradient."""
    gradients, _ = training
    for path, gradient in flax.traverse_util.flatten_dict(gradients).items():
        assert np.isfinite(gradient).all() and (gradient != 0).any(), "/".join(path)


def test_pool_of_the_auxiliary_classifiers(variables):
    """At 14x14, the paper's windows are 5 wide and those of an adaptive pool 4."""
    x = np.random.default_rng(2).normal(size=(2, 14, 14, 512))
    expected = PlainGoogLeNet(variables).classify(x, "aux1")
    params = {"params": variables["params"]["aux1"]}
    unit = ConvNormAct(functools.partial(Conv, use_bias=True), None, nn.relu)
    for adaptive in (False, True):
        init = nn.initializers.zeros
        classifier = AuxiliaryClassifier(CLASSES, 0.0, adaptive, unit, init, jnp.float32)
        apply = compiled(functools.partial(classifier.apply, train=False))
        logits = apply(*jax.tree.map(jnp.float32, (params, x)))
        error = np.abs(logits - expected).max() / np.abs(expected).max()
        assert error > 0.01 if adaptive else error < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_parameters_do_not_depend_on_the_image_size(name):
    """Parameters do not depend on the image size, including auxiliary classifiers."""
    assert shapes(small(name), 32) == shapes(small(name), 224)


def test_auxiliary_classifiers_are_for_training():
    """Evaluation, `auxiliary=False` and `num_classes=0` have no auxiliary classifiers."""
    images = jnp.zeros((2, 64, 64, 3))

    def auxiliary(model, train):
        def apply(tree):
            rngs = {"dropout": jax.random.key(0)}
            return model.apply(tree, images, train=train, rngs=rngs, mutable=["auxiliary"])

        return jax.eval_shape(apply, shapes(model))[1].get("auxiliary", {}).keys()

    assert auxiliary(small(), True) == {"aux1", "aux2"}
    assert not auxiliary(small(), False)
    assert not auxiliary(small(auxiliary=False), True)
    assert not auxiliary(create_model("googlenet", num_classes=0), True)


def test_without_classes_it_gives_features():
    """`num_classes=0` returns the pooled features and has no parameters of classifiers."""
    model = create_model("googlenet_bn", num_classes=0)
    forward = functools.partial(model.init_with_output, train=False)
    features, tree = jax.eval_shape(forward, jax.random.key(0), jnp.zeros((2, 64, 64, 3)))
    assert (features.shape, features.dtype) == ((2, 1024), jnp.float32)
    assert not {"aux1", "aux2", "logits"} & tree["params"].keys()


@pytest.mark.parametrize(
    ("name", "side"), [("googlenet", 5), ("googlenet_bn", 5), ("googlenet_tv", 3)]
)
def test_kernels_and_biases(name, side):
    """Kernels are 5x5 in the paper and 3x3 in torchvision; biases exist only without BatchNorm."""
    params = shapes(small(name))["params"]
    for block in BLOCKS:
        assert params[block.replace("/", "_")]["branch3"]["kernel"].shape[:2] == (side, side)
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    convolutions = [path.removesuffix("/kernel") for path, leaf in flat.items() if leaf.ndim == 4]
    assert len(convolutions) == 3 + 9 * 6 + 2
    for path in convolutions:
        assert (
            (f"{path}/bias" in flat) == (f"{path}_norm/scale" not in flat) == (name == "googlenet")
        )


@pytest.mark.parametrize(
    ("name", "rate", "epsilon"),
    [("googlenet", 0.4, None), ("googlenet_bn", 0.4, 1e-5), ("googlenet_tv", 0.2, 1e-3)],
)
def test_published_defaults(name, rate, epsilon):
    """Published dropout rates, epsilon and auxiliary weight."""
    seen = layers_of(create_model(name))
    assert {layer.rate for layer in seen if isinstance(layer, Dropout)} == {rate, 0.7}
    norms = [layer for layer in seen if isinstance(layer, BatchNorm)]
    assert {layer.epsilon for layer in norms} == ({epsilon} if epsilon else set())
    assert create_model(name).auxiliary_weight == 0.3


def test_options_arrive_in_every_layer():
    """Padding, epsilon and momentum reach every layer."""
    seen = layers_of(
        small(
            "googlenet_bn", norm_momentum=0.5, norm_epsilon=0.1, padding="same", dtype=jnp.bfloat16
        )
    )
    norms = {(x.momentum, x.epsilon, x.dtype) for x in seen if isinstance(x, BatchNorm)}
    convs = {(x.padding, x.use_bias, x.dtype) for x in seen if isinstance(x, Conv)}
    assert norms == {(0.5, 0.1, jnp.bfloat16)}
    assert convs == {("same", False, jnp.bfloat16)}


@pytest.mark.slow
def test_bfloat16(variables, images, reference):
    """In bfloat16, the logits are float32, finite and nearly the same."""
    model = small(dtype=jnp.bfloat16)
    apply = compiled(lambda v, x: model.apply(v, x, train=False))
    logits = apply(*jax.tree.map(jnp.float32, (variables, images)))
    expected = reference["logits"]
    assert logits.dtype == jnp.float32
    assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_too_small_image_is_an_error_before_compilation(size):
    """Tracing raises an error for images that are too small, with the minimum size."""
    init = functools.partial(small().init, train=False)
    with pytest.raises(UserError, match=rf"{size[0]}x{size[1]}.*at least 32x32"):
        jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, *size, 3)))


def test_torchvision_file_without_auxiliary_classifiers():
    """The auxiliary classifiers of torchvision's file are optional."""
    whole, body = small("googlenet_tv"), small("googlenet_tv", auxiliary=False)
    layout = layouts(whole)["torchvision"]
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes(whole))
    tensors = to_tensors(variables, layout(whole, shapes(whole)))
    assert tensors["aux1.fc1.weight"].shape == (1024, 2048)
    read = to_variables(tensors, layout(body, shapes(body)), shapes(body), "file")
    assert jax.tree.structure(read) == jax.tree.structure(shapes(body))
    rest = {name: value for name, value in tensors.items() if not name.startswith("aux")}
    read = to_variables(rest, layout(whole, shapes(whole)), shapes(whole), "file")
    assert shapes(whole)["params"].keys() - read["params"].keys() == {"aux1", "aux2"}
