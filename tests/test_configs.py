"""Every configuration fits together: its network, its recipe and its data."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from netzoo.config import validate
from netzoo.config.overrides import read_config
from netzoo.data.sources.synthetic import builder
from netzoo.kernels import use_backend
from netzoo.mesh import create_mesh
from netzoo.tasks import create_task, resolve_config
from netzoo.tasks.classification.single_label import SingleLabelClassification
from netzoo.training import train
from netzoo.training.step import build_train_program
from tests.conftest import fast_only

FOLDER = Path(__file__).parents[1] / "configs"
# These share network and recipe with another configuration; tests/training covers the differences.
LEFT_OUT = ("quickstart", "mobilenet_v2_finetune", "transformer_quickstart", "flowers_160")
CONFIGS = sorted(p for p in FOLDER.glob("[a-z]*.py") if p.stem not in LEFT_OUT)
TRACED = [FOLDER / "transformer.py"]
# One with BatchNorm, one without, one of the other task. Compiling all of them takes two minutes
# more, and tests/models and tests/parity compile networks of every family with their gradients.
TRAINED = ("alexnet", "mobilenet_v1", "transformer")
# Small enough for seconds, large enough for every network's last stage.
IMAGE_SIZE = 64


def load(path: Path):
    """Return the configuration of a file, with a few examples that need no download."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    config.data.train_split = "train[:8]"
    config.data.test_split = "test[:4]"
    config.data.validation_split = None
    config.train.epochs = 2
    if config.task == "translation":
        config.data.source = "number_words"
        config.data.vocabulary_size = 50
        config.data.row_multiple = 4
        config.data.lengths = (60,)
        config.train.batch_size = config.evaluation.batch_size = 4 * 60
        config.schedule.warmup_epochs = 1.0
    else:
        config.data.source = "synthetic_flowers"
        config.data.image_size = IMAGE_SIZE
        config.train.batch_size = config.evaluation.batch_size = 4
        config.schedule.warmup_epochs = 0.0
    config.train.log_every_steps = 1
    config.evaluation.train_examples = 4
    config.evaluation.every_epochs = 2
    return config


@pytest.fixture(scope="module")
def drawn_flowers(tmp_path_factory):
    """A TFDS directory with a few of the synthetic flowers; generating all takes longer."""
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "SPLIT_SIZES", {"train": 10, "test": 5})
        builder.prepare(str(folder))
    return folder


@pytest.mark.parametrize("path", fast_only(CONFIGS, TRACED), ids=lambda path: path.stem)
def test_the_step_can_be_traced(path, drawn_flowers):
    """Protects the run cards: every key is valid, and the step accepts a batch of the data."""
    config = load(path)
    config.data.data_dir = str(drawn_flowers)
    validate(config, training=True)
    config = resolve_config(config)
    task = create_task(config)
    program = build_train_program(config, task, create_mesh())
    batch = next(task.train_iterator())
    state, metrics = jax.eval_shape(program.step, program.state, batch)
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (state, program.state)]
    assert shapes[0] == shapes[1]
    assert metrics["loss"].shape == () and metrics["loss"].dtype == jnp.float32
    variables = {"params": state.params, **state.model_state}
    sums = jax.eval_shape(
        task.evaluation_sums, variables, next(iter(task.evaluation_batches("test[:4]")))
    )
    assert sums["loss_sum"].shape == ()


# The pixels of the training images.
FOR_ACCELERATORS = {
    "imagenet_resnet50": 160,
    "imagenet_resnet50:a2": 224,
    "imagenet_mobilenet_v3": 224,
    "imagenet_vit_s16": 224,
    "flowers_224": 224,
    "flowers_160:mobilenet_v1": 160,
    "flowers_160:mobilenet_v2": 160,
    "flowers_160:mobilenet_v3": 160,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOR_ACCELERATORS)
def test_the_step_for_an_accelerator_can_be_traced(name):
    """Protects run cards that need an accelerator: full batch and size, with native kernels."""
    path, _, argument = name.partition(":")
    config = read_config(f"{FOLDER / path}.py" + (f":{argument}" if argument else ""))
    size = FOR_ACCELERATORS[name]
    validate(config, training=True)
    config = resolve_config(config, open_data=False)
    classes = 1000 if path.startswith("imagenet") else 5
    with use_backend("native"):
        task, batch = SingleLabelClassification.without_data(config, classes)
        program = build_train_program(config, task, create_mesh())
        state, metrics = jax.eval_shape(program.step, program.state, batch)
    assert batch["image"].shape == (config.train.batch_size, size, size, 3)
    assert metrics["loss"].shape == () and metrics["loss"].dtype == jnp.float32
    assert jax.tree.structure(state) == jax.tree.structure(program.state)
    assert config.model.dtype == "bfloat16"


@pytest.mark.slow  # the fast ones are those of tests/training
@pytest.mark.parametrize("name", TRAINED)
def test_a_few_steps(name, drawn_flowers, tmp_path):
    """Protects training with a run card: losses, an evaluation and a checkpoint."""
    config = load(FOLDER / f"{name}.py")
    config.data.data_dir = str(drawn_flowers)
    assert train(config, tmp_path) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 4]
    assert all(line["loss"] > 0 for line in lines[:4])
    assert (tmp_path / "checkpoints" / "4").is_dir()
