"""The Predictor: images of any kind and size, with the results of evaluation."""

import copy
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import netzoo
from netzoo.config import save_config
from netzoo.data.images import EvalBatches
from netzoo.errors import UserError, printable
from netzoo.models import create_model
from netzoo.models.summary import variable_shapes
from netzoo.tasks import create_task
from netzoo.tasks.classification import predictor as module
from netzoo.tasks.classification.mix import normalize
from netzoo.tasks.classification.predictor import Predictor
from netzoo.tasks.classification.views import views
from netzoo.weights import CATALOGUE, LoadedModel, save_safetensors
from netzoo.weights.class_names import imagenet_classes
from netzoo.weights.published import Preprocessing
from tests.conftest import tiny_config
from tests.tasks.classification.test_predict import Constant

PREPROCESSING = Preprocessing((127.5,) * 3, (127.5,) * 3, 40, 32, "area")


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    """Return a task, variables whose statistics are not 0 and 1, and a Predictor of them."""
    config = tiny_config(pictures)
    workdir = tmp_path_factory.mktemp("run")
    task = create_task(config)
    task.save(workdir)
    save_config(task.config, workdir)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(task.init, jax.random.key(0))

    def draw(path, x):
        if len(x.shape) > 1:  # kernels keep the variance of activations
            return rng.normal(0, (2 / np.prod(x.shape[:-1])) ** 0.5, x.shape).astype(np.float32)
        low = 0.5 if path[-1].key in ("var", "scale") else -0.5
        return rng.uniform(low, low + 1, x.shape).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "restore_variables", lambda *args: (1, "params", variables))
        return task, variables, Predictor.from_run(workdir)


@pytest.mark.parametrize("name", ["default", "highest"])
def test_predictions_have_the_precision_of_the_run(name, run, tmp_path, monkeypatch):
    """Protects predictions on a TPU, which would otherwise differ from the run's evaluation."""
    task, variables, _ = run
    task.save(tmp_path)
    monkeypatch.setattr(module, "restore_variables", lambda *args: (1, "params", variables))
    config = task.config.as_configdict()
    config.matmul_precision = name
    save_config(config, tmp_path)
    predictor = Predictor.from_run(tmp_path)
    images = jnp.zeros((1, 32, 32, 3), jnp.uint8)
    program = str(jax.make_jaxpr(predictor.apply)(predictor.variables, images))
    assert ("precision=(Precision.HIGHEST" in program) == (name == "highest")


def test_variables_of_another_network_without_batch_norm():
    """Protects from a traceback with networks that have nothing to fold."""
    model = create_model("vit_ti16", num_classes=2)
    variables = variable_shapes(create_model("vit_ti16", num_classes=2), 64)
    with pytest.raises(UserError, match=r"do not belong to this ViT:\n  params/.*expected \("):
        Predictor(model, variables, PREPROCESSING, ["daisy", "roses"])


def test_files_are_seen_as_evaluation_sees_them(run, pictures):
    """Protects predictions, which equal those of evaluation exactly."""
    task, variables, predictor = run
    files = sorted((pictures / "test").rglob("*.png"))
    seen = np.stack([predictor.preprocess(path) for path in files])
    found = [(path.parent.name, image.tobytes()) for path, image in zip(files, seen, strict=True)]
    expected = [
        (predictor.class_names[label], image.tobytes())
        for batch in task.evaluation_batches("test")
        for label, image, real in zip(batch["label"], batch["image"], batch["mask"], strict=True)
        if real
    ]
    assert sorted(found) == sorted(expected)
    logits = task.model.apply(variables, normalize(seen, *PREPROCESSING[:2]), train=False)
    expected = np.asarray(jax.nn.softmax(logits))
    assert np.ptp(expected, axis=0).max() > 1e-3, "else nothing is compared"
    np.testing.assert_allclose(predictor(files), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["flip", "crops"])
def test_views_are_averaged(kind, run, pictures):
    """The result is the mean over all views, and differs from that of one view."""
    _, _, predictor = run
    files = sorted((pictures / "test").rglob("*.png"))[:3]
    averaging = predictor.with_tta(kind)
    seen = np.stack([averaging.preprocess(path) for path in files])
    each = [predictor.probabilities(list(np.asarray(view))) for view in views(seen, kind, 32)]
    assert len(each) == {"flip": 2, "crops": 10}[kind]
    # float32: the order of the sums in two programs
    np.testing.assert_allclose(averaging(files), np.mean(each, axis=0), rtol=2e-5, atol=1e-6)
    assert abs(averaging(files) - predictor(files)).max() > 1e-3
    np.testing.assert_array_equal(averaging.with_tta("none")(files), predictor(files))


def test_logits_that_are_not_finite_are_refused(run, pictures):
    """Protects from probabilities of nan%, with a status of 0."""
    predictor = copy.copy(run[2])
    predictor.variables = jax.tree.map(lambda x: x * np.nan, predictor.variables)
    with pytest.raises(UserError, match=r"not finite for 1 of 1 images.*another --checkpoint"):
        predictor(next((pictures / "test" / "roses").iterdir()))


def test_an_unknown_kind_of_views_is_refused(run):
    """A misspelt kind is an error that names the nearest kind."""
    with pytest.raises(UserError, match=r"test-time augmentation 'flop'; did you mean flip\?"):
        run[2].with_tta("flop")


def test_views_need_one_class_per_image():
    """The mean is one of probabilities that sum to 1; those of a sigmoid do not."""
    several = Predictor(Constant(), {}, PREPROCESSING, thresholds=np.full(2, 0.5))
    assert several.with_tta("none").tta == "none"
    with pytest.raises(UserError, match=r"augmentation \(flip\) needs one class per image"):
        several.with_tta("flip")


def test_paths_bytes_and_pixels_are_the_same_image(run, pictures):
    """Protects the three ways to give an image, one or several, of other sizes in one batch."""
    _, _, predictor = run
    path = next((pictures / "test" / "roses").iterdir())
    pixels = np.asarray(Image.open(path))
    other = np.zeros((7, 500, 3), np.uint8)
    together = predictor([path, str(path), path.read_bytes(), pixels, other])
    assert together.shape == (5, 3) and together.dtype == np.float32
    for one in (path, path.read_bytes(), pixels, pixels[None]):
        np.testing.assert_array_equal(predictor(one), together[:1])
    np.testing.assert_array_equal(together[:4], np.repeat(together[:1], 4, axis=0))
    assert predictor([]).shape == (0, 3)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        jnp.zeros((8, 8, 3), jnp.float32),
        [[0, 1], [2, 3]],
    ],
)
def test_what_is_not_an_image_is_refused(run, image):
    """Protects against normalised, grey, transparent or transposed pixels, which give nonsense."""
    with pytest.raises(UserError, match=r"uint8 \[height, width, 3\].*got"):
        run[2](image)


@pytest.mark.parametrize("path", ["nowhere.jpg", "null\0.jpg", "."])
def test_what_cannot_be_opened_is_named(path, run):
    """Protects errors, which name the file."""
    with pytest.raises(UserError, match=f"Cannot read {printable(path)}".replace("\\", ".")):
        run[2](path)


def test_a_file_of_eight_million_pixels_in_a_row(tmp_path):
    """Protects prediction from 23 kB whose enlarged image has 10^12 pixels."""
    Image.new("L", (8_000_000, 1), 255).save(tmp_path / "row.png")
    predictor = Predictor(Constant(), {}, PREPROCESSING, ["a", "b"])
    assert (predictor.preprocess(tmp_path / "row.png") == 255).all()
    np.testing.assert_allclose(predictor(tmp_path / "row.png"), [[0.25, 0.75]], rtol=1e-6)


def test_all_sizes_and_numbers_are_one_program():
    """Protects a server from compiling for every request."""
    traced = []

    class Counted(Constant):
        def __call__(self, images, *, train):
            traced.append(images.shape)
            return Constant.__call__(self, images, train=train)

    predictor = Predictor(Counted(), {}, PREPROCESSING, ["a", "b"], batch_size=3)
    traced.clear()
    for count in (1, 2, 3, 7):
        images = [np.zeros((20 + 9 * i, 33, 3), np.uint8) for i in range(count)]
        np.testing.assert_allclose(predictor(images), np.tile([0.25, 0.75], (count, 1)), rtol=1e-6)
    assert traced == [(3, 32, 32, 3)]
    assert predictor.top_k(predictor(images[:1]), 1) == [[("b", pytest.approx(0.75))]]


def test_a_configuration_with_undetermined_values(run, pictures, tmp_path, monkeypatch):
    """Protects `--config.data.mean=None`: it means the mean of the run, as for eval.py."""
    task, variables, predictor = run
    monkeypatch.setattr(module, "restore_variables", lambda *args: (1, "params", variables))
    task.save(tmp_path)
    save_config(task.config, tmp_path)
    config = tiny_config(pictures)
    assert config.data.mean is None
    resolved = Predictor.from_run(tmp_path, config=config).preprocessing
    assert resolved == predictor.preprocessing


def test_a_name_for_each_class():
    """Protects against labels shifted by one."""
    with pytest.raises(UserError, match="expected 2 class names, one for each logit, got 1"):
        Predictor(Constant(), {}, PREPROCESSING, ["a"])


def test_a_network_without_classes():
    """Protects users of pre-trained weights without a head from empty predictions."""
    with pytest.raises(UserError, match="no classes, because its weights have no head"):
        Predictor(Constant(num_classes=0), {}, PREPROCESSING)


def test_published_weights_bring_their_preprocessing(monkeypatch):
    """Protects torchvision's resize rule: 256 on the shorter side, truncation, the central 224."""

    def zeros(name, model):
        published, network = CATALOGUE[name], create_model("alexnet_owt")
        shapes = variable_shapes(network, 224)
        variables = jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), shapes)
        names = imagenet_classes()
        return LoadedModel(network, variables, published.preprocessing, names)

    monkeypatch.setattr(module, "load", zeros)
    predictor = netzoo.Predictor.from_weights("alexnet_owt.tv_in1k")
    assert predictor.class_names[281] == "tabby" and len(predictor.class_names) == 1000
    pixels = np.random.default_rng(0).integers(0, 256, (300, 512, 3), np.uint8)
    resized = Image.fromarray(pixels).resize((436, 256), Image.Resampling.BILINEAR)
    expected = np.asarray(resized)[16 : 16 + 224, 106 : 106 + 224]
    np.testing.assert_array_equal(predictor.preprocess(pixels), expected)


def test_interpolation_is_that_of_the_weights():
    """Protects the three interpolation methods, which differ."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    results = [
        Predictor(Constant(), {}, PREPROCESSING._replace(interpolation=name), "ab").preprocess(
            pixels
        )
        for name in ("area", "bilinear", "bicubic")
    ]
    assert len({result.tobytes() for result in results}) == 3


def test_squashed_images_are_those_of_the_evaluation():
    """A predictor, and the batches of an evaluation with its preprocessing, see the whole image."""
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[:, :15] = 255  # outside the central square
    images = PREPROCESSING._replace(interpolation="bilinear", crop_mode="squash")
    found = Predictor(Constant(), {}, images, "ab").preprocess(pixels)
    assert found[:, 0].min() > 100 and found[:, 8:].max() == 0
    source = [{"image": pixels, "label": 0, "name": "a"}]
    how = {"crop_pct": 32 / 40, "interpolation": "bilinear"}
    for mode, expected in (("squash", found), ("center", np.zeros_like(found))):
        batches = EvalBatches(source, batch_size=1, image_size=32, **how, crop_mode=mode)
        np.testing.assert_array_equal(batches[0]["image"][0], expected)


def test_unknown_weights_are_named():
    """Protects users from a misspelt name."""
    with pytest.raises(UserError, match=r"mobilenet_v2\.tv_in1k"):
        Predictor.from_weights("mobilenet_v2.tv_in1")


def test_a_file_makes_a_predictor_if_it_says_how_images_were_normalised(tmp_path):
    """Protects against images on another scale."""
    model, path = "mobilenet_v1", tmp_path / "a.safetensors"
    shapes = variable_shapes(create_model(model, num_classes=2), 32)
    variables = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)
    save_safetensors(path, variables, model)
    with pytest.raises(UserError, match=r"normalisation of the images is unknown"):
        Predictor.from_weights(path)
    names = {"class_names": ["daisy", "roses"]}
    save_safetensors(path, variables, model, preprocessing=PREPROCESSING, **names)
    predictor = Predictor.from_weights(path)
    assert predictor.preprocessing == PREPROCESSING
    assert predictor.class_names == ("daisy", "roses")
    # A folder of the hub has a config.json too, and is no run.
    images = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": [3, 32, 32], "crop_pct": 0.8}
    images = {**images, "interpolation": "bilinear", "crop_mode": "squash"}
    hub = {"architecture": "mobilenetv1_100", "num_classes": 2, "pretrained_cfg": images}
    (tmp_path / "config.json").write_text(json.dumps(hub))
    save_safetensors(tmp_path / "model.safetensors", variables, model, "timm")
    predictor = Predictor.from_weights(tmp_path)
    expected = Preprocessing((127.5,) * 3, (63.75,) * 3, 40, 32, "bilinear", "squash")
    assert predictor.preprocessing == expected
    assert predictor.class_names == ("class 0", "class 1")
