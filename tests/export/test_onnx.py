"""ONNX files: operations one by one, whole networks, metadata and damage."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import lax
from onnx import numpy_helper

from netzoo.errors import UserError
from netzoo.export import onnx as onnx_format
from netzoo.export.classifier import image_program
from netzoo.export.onnx.jaxpr import to_model
from netzoo.export.program import Program
from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from netzoo.tasks.classification.predictor import Predictor
from tests.conftest import fast_only
from tests.export.conftest import NAMES, PREPROCESSING, drawn
from tests.export.page import run_lines
from tests.test_native_programs import FAMILIES, SMALL, image_size

RNG = np.random.default_rng(3)
KERNEL = RNG.normal(size=(3, 2, 2, 8)).astype(np.float32)
MATRIX = RNG.normal(size=(3, 5, 2)).astype(np.float32)
TABLE = RNG.normal(size=(7, 4)).astype(np.float32)
LAYERS = RNG.normal(size=(4, 3, 3)).astype(np.float32)
CHANNELS = RNG.normal(size=3).astype(np.float32)
NHWC = ("NHWC", "HWIO", "NHWC")


def conv(x):
    """Strides, unequal padding, dilation and groups."""
    options = {"rhs_dilation": (1, 2), "feature_group_count": 2, "dimension_numbers": NHWC}
    x = jnp.concatenate([x, x[..., :1]], -1)
    return lax.conv_general_dilated(x, KERNEL, (2, 1), ((0, 1), (2, 0)), **options)


def max_pool(x):
    window = {"window_dimensions": (1, 3, 2, 1), "window_strides": (1, 2, 1, 1)}
    return lax.reduce_window(
        x, -jnp.inf, lax.max, padding=((0, 0), (1, 0), (0, 1), (0, 0)), **window
    )


def scanned(x):
    return lax.scan(lambda carry, w: (jnp.tanh(carry @ w), None), x, jnp.asarray(LAYERS))[0]


def class_token(x):
    return jnp.concatenate([jnp.broadcast_to(CHANNELS, (*x.shape[:2], 1, 3)), x], 2)


# Functions of an array [batch, 6, 5, 3].
OPERATIONS = {
    "conv": conv,
    "conv with bias": lambda x: conv(x) + np.arange(8, dtype=np.float32),
    "channels-last after channels-first": lambda x: jnp.sum(conv(x), 1) * 2.0,
    "two orders": lambda x: jnp.transpose(conv(x)[..., :3], (0, 2, 1, 3)) + x[:, :5, 1:4],
    "max_pool": max_pool,
    "relu6": lambda x: jnp.minimum(jnp.maximum(x, 0), 1.5) + jnp.maximum(x, 0),
    "minimum alone": lambda x: jnp.minimum(x, 0.5),
    "mean of channels": lambda x: x.mean(-1, keepdims=True) - x,
    "largest": lambda x: x.max((1, 2)),
    "softmax": lambda x: jax.nn.softmax(x, -2),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False) + jax.nn.gelu(x),
    "powers": lambda x: x**3 + jnp.square(x) + lax.rsqrt(1 + jnp.abs(x)),
    "functions": lambda x: jnp.sin(x) + jnp.exp(-x) * jax.nn.sigmoid(x) - jnp.sign(x) * lax.erf(x),
    "comparison": lambda x: jnp.where((x > 0) & (x != 1) | (x <= -1), x, -2 * x),
    "comparison of constants": lambda x: jnp.where(CHANNELS > 0, x, 0.0),
    "clamp": lambda x: jnp.clip(x, -0.5, 0.25),
    "pad": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 0), (0, 3)), constant_values=7),
    "slice": lambda x: lax.slice(x, (0, 1, 3, 0), (x.shape[0], 6, 5, 3), (1, 2, 1, 1)),
    "static gather": lambda x: x[:, 2, 1],
    "class token": class_token,
    "reshape": lambda x: x.reshape(x.shape[0], 6, -1) @ np.ones((15, 2), np.float32),
    "dense over two axes": lambda x: jnp.einsum("bhwc,cwn->bhn", x, MATRIX),
    "dense into two axes": lambda x: jnp.einsum("bhwc,cnk->bhwnk", x, MATRIX),
    "attention": lambda x: jnp.einsum("bhwc,bkwc->bwhk", x, x),
    "constant on the left": lambda x: jnp.einsum("hk,bkwc->bhwc", np.ones((2, 6), np.float32), x),
    "table": lambda x: jnp.asarray(TABLE)[jnp.clip(x.astype(jnp.int32), 0, 6)],
    "argmax": lambda x: jnp.argmax(x, -1),
    "scan": scanned,
    "casts": lambda x: (x > 0).astype(jnp.float32) * x.astype(jnp.int32).astype(jnp.float32),
    "batch size": lambda x: jnp.broadcast_to(x.sum((1, 2, 3))[:, None], (x.shape[0], 4)) * 1,
}  # fmt: skip


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


# One of each kind that the networks of netzoo have.
FAST = ("conv with bias", "two orders", "max_pool", "relu6", "static gather", "class token",
        "attention")  # fmt: skip


@pytest.mark.parametrize("name", fast_only(OPERATIONS, FAST))
def test_operations(name):
    """Each operation has two batch sizes, and float32 sums of at most some dozens of terms."""
    function = OPERATIONS[name]
    shape = (("batch", 6, 5, 3), jnp.float32)
    program = Program(lambda x: (function(x),), {"x": shape}, ("result",), {})
    session = session_of(to_model(program))
    for count in (1, 5):
        x = RNG.normal(size=(count, 6, 5, 3)).astype(np.float32)
        [found] = session.run(None, {"x": x})
        expected = np.asarray(function(x))
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_several_inputs_and_outputs_with_equal_sizes():
    """Sizes with one name are one size, also where a node needs both."""

    def function(x, y):
        return x.reshape(x.shape[0], x.shape[1], 2, 2), jnp.broadcast_to(y[:, None], x.shape)

    inputs = {"x": (("batch", "length", 4), jnp.float32), "y": (("batch", 4), jnp.float32)}
    session = session_of(to_model(Program(function, inputs, ("a", "b"), {})))
    x, y = RNG.normal(size=(2, 3, 4)).astype(np.float32), np.ones((2, 4), np.float32)
    for found, expected in zip(session.run(None, {"x": x, "y": y}), function(x, y), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_operation_that_cannot_be_written_is_named():
    """Protects users with their own networks, who can choose StableHLO."""
    shape = (("batch", 4), jnp.float32)
    program = Program(lambda x: (jnp.cumsum(x, 1),), {"x": shape}, ("result",), {})
    with pytest.raises(UserError, match="operation cumsum, which netzoo cannot write to ONNX"):
        to_model(program)


@pytest.fixture(scope="module")
def path(predictor, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "flowers.onnx"
    with open(path, "wb") as file:
        onnx_format.write(file, image_program(predictor, "reliability_small"))
    return path


def test_files_are_small_and_describe_themselves(path):
    """A folded norm is the bias of its convolution, and the weights are in the file once."""
    model = onnx.load(path)
    operations = [node.op_type for node in model.graph.node]
    assert operations.count("Transpose") <= 2 and "Conv" in operations
    assert "Add" not in operations[: operations.index("Relu")]
    weights = sum(np.prod(x.dims) for x in model.graph.initializer)
    parameters = 3 * 3 * 3 * 256 + 256 + 8 * 8 * 256 * len(NAMES) + len(NAMES)
    assert parameters <= weights <= parameters + 16
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["class_names"]) == list(NAMES)
    assert json.loads(metadata["preprocessing"])["crop_size"] == PREPROCESSING.crop_size
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert model.opset_import[0].version == 22


def test_the_lines_of_the_page_run_without_netzoo(path, predictor, images):
    """Protects readers of docs/export.md who have ONNX Runtime alone."""
    batch = PREPROCESSING.normalize(images.pixels)
    forbidden = {"netzoo", "jax", "onnx"}
    logits, printed = run_lines('"flowers.onnx"', path.parent, batch, forbidden)
    expected = predictor.logits(list(images.pixels))
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    assert printed == str([NAMES[i] for i in expected.argmax(-1)])


def test_damaged_files_give_one_message(path, tmp_path):
    """Protects from tracebacks of ONNX Runtime."""
    data = path.read_bytes()
    for number, bad in enumerate((b"", b"not a model", data[: len(data) // 2])):
        (tmp_path / f"{number}.onnx").write_bytes(bad)
        with pytest.raises(UserError, match="is damaged, or not an ONNX file"):
            onnx_format.read(tmp_path / f"{number}.onnx")


def reported(data, path):
    """Return the error about an ONNX file with these bytes."""
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        onnx_format.read(path)
    return str(error.value)


def test_a_changed_weight_is_reported(path, tmp_path):
    """One flipped bit of the weights changes the results, and nothing else shows it."""
    model = onnx.load(path)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    data = path.read_bytes()
    place = data.index(largest.raw_data) + len(largest.raw_data) // 2
    changed = bytes([*data[:place], data[place] ^ 64, *data[place + 1 :]])
    message = reported(changed, tmp_path / "a.onnx")
    assert "a.onnx is damaged" in message and "do not have the SHA-256" in message
    # Another program may store the same weights in another way.
    plain = numpy_helper.to_array(largest)
    largest.ClearField("raw_data")
    largest.float_data.extend(plain.ravel().tolist())
    onnx.save(model, tmp_path / "a.onnx")
    onnx_format.read(tmp_path / "a.onnx")


def test_weights_in_other_files_are_refused(path, tmp_path, monkeypatch):
    """The path of such a file could lead anywhere, and depends on the working directory."""
    onnx.save(onnx.load(path), tmp_path / "a.onnx", save_as_external_data=True, location="a.bin")
    assert (tmp_path / "a.bin").stat().st_size > 1024
    for folder in (tmp_path, tmp_path.parent):
        monkeypatch.chdir(folder)
        message = reported((tmp_path / "a.onnx").read_bytes(), tmp_path / "a.onnx")
        assert "other files hold its weights; write them into one file" in message
    nested = onnx.load(path)
    tensor = nested.graph.node[0].attribute.add(name="value", type=4).t
    tensor.data_location = onnx.TensorProto.EXTERNAL
    assert "other files" in reported(nested.SerializeToString(), tmp_path / "a.onnx")


# test_operations covers the grouped convolutions of ResNeXt, which takes longest.
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "resnext50_32x4d"])
def test_networks_of_every_family(name):
    """ONNX Runtime gives the logits of the network for one image and for five.

    The limit is some dozens of float32 roundings of the largest logit.
    """
    model = create_model(name, num_classes=5, **SMALL.get(name, {}))
    size = image_size(model)
    images = PREPROCESSING._replace(resize_size=size, crop_size=size)
    variables = drawn(variable_shapes(model, size))
    predictor = Predictor(model, variables, images, tuple("abcde"), batch_size=5)
    session = session_of(to_model(image_program(predictor, name)))
    pixels = RNG.integers(0, 256, (5, size, size, 3), np.uint8)
    expected = predictor.logits(list(pixels))
    for count in (1, 5):
        [found] = session.run(None, {"images": images.normalize(pixels[:count])})
        error = np.abs(found - expected[:count]).max()
        assert error < 5e-6 * np.abs(expected).max()
