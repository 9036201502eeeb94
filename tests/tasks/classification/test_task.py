"""Image classification: exact evaluation, the train flag, mixup."""

import functools
import json
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from ml_collections import ConfigDict

from netzoo.config import save_config
from netzoo.errors import UserError
from netzoo.layers import AUXILIARY
from netzoo.tasks import create_task, evaluation_task, resolve_config, run_config
from netzoo.tasks.classification.mix import mixup, normalize
from netzoo.training.evaluation import evaluate
from netzoo.weights import save_safetensors
from tests.conftest import slow, tiny_config


@pytest.fixture(scope="module")
def evaluated(pictures):
    """Return the function from a batch size to the sums over the 11 test pictures."""
    variables = jax.jit(create_task(tiny_config(pictures)).init)(jax.random.key(0))

    @functools.cache
    def sums(size):
        config = tiny_config(pictures)
        config.evaluation.batch_size = size
        task = create_task(config)
        batches = task.evaluation_batches(config.data.test_split)
        return evaluate(jax.jit(task.evaluation_sums), variables, batches)

    return sums


@pytest.mark.parametrize("size", [slow(1), 7, slow(32)])
def test_batch_size_changes_no_count(size, evaluated):
    """Protects exact evaluation: every picture once, whatever the batches.

    The loss is a sum of 11 float32 values in another order: 1e-6 relative.
    """
    for name in ("confusion", "topk_correct", "count"):
        np.testing.assert_array_equal(evaluated(size)[name], evaluated(11)[name])
    assert evaluated(size)["count"] == evaluated(size)["confusion"].sum() == 11
    np.testing.assert_allclose(evaluated(size)["loss_sum"], evaluated(11)["loss_sum"], rtol=1e-6)


def test_mixup_blends_images_and_targets_alike():
    """Protects the pairing: one weight for image and target, partner from the other end."""
    images = jnp.arange(4.0).reshape(4, 1, 1, 1)
    labels = jnp.arange(4)
    mixed, targets, larger = mixup(
        jax.random.key(3), 0.2, images, jax.nn.one_hot(labels, 4), labels
    )
    weight = float(targets[0, 0])
    assert 0 < weight < 1
    np.testing.assert_allclose(
        mixed[:, 0, 0, 0], [3 - 3 * weight, 2 - weight, 1 + weight, 3 * weight], rtol=1e-5
    )
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(larger, labels if weight >= 0.5 else labels[::-1])


def test_normalisation_is_that_of_the_configuration(pictures):
    """Protects the input range: 0, 127.5 and 255 become -1, 0 and 1 by default."""
    images = jnp.array([[0, 255, 255]], jnp.uint8)
    data = resolve_config(tiny_config(pictures)).data
    np.testing.assert_array_equal(normalize(images, data.mean, data.std), [[-1, 1, 1]])


def test_remat_reaches_the_network(pictures):
    """Protects `train.remat`, which AlexNet rejects because it has no blocks."""
    config = tiny_config(pictures)
    config.model = {"name": "alexnet_owt", "dtype": "float32"}
    config.data.image_size = 64
    config.train.remat = "blocks"
    task = create_task(config)
    batch = {"image": jnp.zeros((2, 64, 64, 3), jnp.uint8), "label": jnp.zeros(2, jnp.int32)}
    variables = jax.eval_shape(task.init, jax.random.key(0))
    with pytest.raises(UserError, match="no blocks"):
        jax.eval_shape(task.loss, variables, batch, jax.random.key(0))


class WithAuxiliary(nn.Module):
    """Returns one parameter as the logits and another as the auxiliary logits."""

    auxiliary_weight: float

    @nn.compact
    def __call__(self, images, *, train):
        logits, extra = (self.param(n, nn.initializers.normal(), (3,)) for n in ("main", "extra"))
        if train:
            self.sow(AUXILIARY, "aux", jnp.tile(extra, (len(images), 1)), reduce_fn=lambda _, x: x)
        return jnp.tile(logits, (len(images), 1))


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_auxiliary_losses_count_by_their_weight(weight, pictures):
    """Protects GoogLeNet's training: the loss is the main loss plus weight times the others."""
    config = tiny_config(pictures)
    config.augment.mixup, config.train.label_smoothing = 0.0, 0.1
    task = create_task(config)
    task.model = WithAuxiliary(weight)
    params = {"main": jnp.array([1.0, 2.0, 4.0]), "extra": jnp.array([3.0, 0.0, 1.0])}
    batch = {"image": jnp.zeros((2, 4, 4, 3), jnp.uint8), "label": jnp.array([0, 2])}
    loss, _, metrics = task.loss({"params": params}, batch, jax.random.key(0))
    targets = 0.9 * np.eye(3)[[0, 2]] + 0.1 / 3
    main, extra = (-(targets * jax.nn.log_softmax(x)).sum(1).mean() for x in params.values())
    np.testing.assert_allclose(loss, main + weight * extra, rtol=1e-6)
    assert metrics["accuracy"] == 0.5


def test_corrupt_images_are_left_out_and_counted(pictures, tmp_path, capsys):
    """Protects metrics with skipped images, which cover the readable ones."""
    shutil.copytree(pictures, tmp_path / "pictures")
    bad = next((tmp_path / "pictures" / "test" / "roses").iterdir())
    bad.write_bytes(bad.read_bytes()[:-100])
    config = tiny_config(tmp_path / "pictures")
    with pytest.raises(UserError, match=rf"{bad.name}.*data\.on_corrupt=skip"):
        list(create_task(config).evaluation_batches("test"))
    config.data.on_corrupt = "skip"
    task = create_task(config)
    batches = list(task.evaluation_batches("test"))
    assert [batch["image"].shape for batch in batches] == 3 * [(4, 32, 32, 3)]
    counted = sum(int(batch["mask"].sum()) for batch in batches)
    sums = {"count": np.int64(counted), "confusion": np.diag([4, 3, 3])}
    assert counted == 10 and task.report(None, "test", sums, {})[0]["left_out"] == 1
    list(task.evaluation_batches("test"))
    assert capsys.readouterr().err.count(bad.name) == 1, "named once a run"


def test_data_of_other_classes_are_refused(pictures, tmp_path):
    """Protects evaluation from data with other classes of the same number."""
    create_task(tiny_config(pictures)).save(tmp_path)
    create_task(tiny_config(pictures), tmp_path)
    (tmp_path / "classes.json").write_text('["roses", "daisy", "tulips"]')
    with pytest.raises(UserError, match="was trained on roses, daisy, tulips, in this order"):
        create_task(tiny_config(pictures), tmp_path)
    (tmp_path / "classes.json").write_text('["roses", ')
    with pytest.raises(UserError, match=r"cannot read the class names.*classes\.json"):
        create_task(tiny_config(pictures), tmp_path)


def test_evaluation_opens_one_split_and_matches_classes_by_name(pictures, tmp_path, capsys):
    """Protects evaluation on new data: few images, one class missing, no training data at all."""
    config = tiny_config(pictures)
    create_task(config).save(tmp_path)
    (tmp_path / "classes.json").write_text('["tulips", "daisy", "roses"]')
    new = tmp_path / "new"
    for name in ("roses", "tulips"):
        shutil.copytree(pictures / "test" / name, new / name)
    config.data.source, config.data.train_split = f"folder:{new}", "no such split"
    config.train.batch_size, config.train.grad_accum_steps = 2**20, 2**19
    task = evaluation_task(resolve_config(config), tmp_path)
    assert task.batch_sizes(training=False) == {"evaluation.batch_size": 4}
    batches = list(task.evaluation_batches("train"))
    labels = np.concatenate([batch["label"][batch["mask"]] for batch in batches])
    np.testing.assert_array_equal(np.bincount(labels), [3, 0, 4])
    sums = {"confusion": np.diag([3, 0, 4]), "topk_correct": 7, "loss_sum": 0.0, "count": 7}
    task.show({**task.metrics(sums, {}), "left_out": 0, "split": "train"})
    [line] = [line for line in capsys.readouterr().out.splitlines() if "daisy" in line]
    assert "no images" in line
    shutil.copytree(pictures / "test" / "daisy", new / "Roses")
    both = r"does not have: Roses\. .* the data lack: daisy\."
    with pytest.raises(UserError, match=both):
        evaluation_task(resolve_config(config), tmp_path).evaluation_batches("train")


def test_the_table_shows_brackets_in_class_names(pictures, tmp_path, capsys):
    """Protects two classes from being shown as one: brackets are printed as they are."""
    names = ("daisy", "tulips [autumn]", "tulips [spring]")
    for old, new in zip(("daisy", "roses", "tulips"), names, strict=True):
        for split in ("train", "val", "test"):
            shutil.copytree(pictures / split / old, tmp_path / split / new)
    task = create_task(tiny_config(tmp_path))
    sums = {"confusion": np.diag([4, 4, 3]), "topk_correct": 11, "loss_sum": 0.0, "count": 11}
    task.show({**task.metrics(sums, {}), "left_out": 0, "split": "test"})
    shown = capsys.readouterr().out
    assert [shown.count(name) for name in names] == [1, 1, 1]


def test_evaluation_reads_no_initial_weights(pictures, tmp_path):
    """Protects a run whose initial weights were deleted or replaced since."""
    config = ConfigDict(create_task(tiny_config(pictures)).config)
    config.init.weights = str(tmp_path / "w.safetensors")
    save_config(config, tmp_path)
    (tmp_path / "w.safetensors").write_text("other weights")
    assert run_config(tmp_path).data.mean == config.data.mean
    config.data.mean = None
    assert run_config(tmp_path, config).data.mean == (127.5, 127.5, 127.5)


def test_a_batch_above_the_training_set_shrinks_to_it(pictures):
    """Protects small data sets: all images form a batch, with a notice."""
    config = tiny_config(pictures)
    config.train.batch_size = 64
    task = create_task(config)
    assert task.steps_per_epoch == 1
    assert next(task.train_iterator())["label"].shape == (40,)
    assert len(task.notes()) == 1 and "64" in task.notes()[0] and "40" in task.notes()[0]
    config.train.batch_size, config.train.grad_accum_steps = 60, 3
    task = create_task(config)
    assert next(task.train_iterator())["label"].shape == (39,)
    assert task.batch_sizes()["train.batch_size / train.grad_accum_steps"] == 13
    assert "each epoch leaves out 1 of the 40 training images" in task.notes()[1]


def test_left_out_images_are_counted(pictures):
    """Protects the notice about images that batches leave out."""
    config = tiny_config(pictures)
    assert create_task(config).notes() == []
    config.train.batch_size = 9
    assert "leaves out 4 of the 40 training images" in create_task(config).notes()[0]
    config.augment.repeats = 5
    assert "each epoch has 8 of the 40 training images" in create_task(config).notes()[0]


def test_top_k_is_at_most_the_number_of_classes(pictures):
    """Protects data of two or three classes: with k of all classes every answer is right."""
    config = tiny_config(pictures)
    config.evaluation.top_k = 9
    task = create_task(config)
    variables = jax.jit(task.init)(jax.random.key(0))
    sums = evaluate(jax.jit(task.evaluation_sums), variables, task.evaluation_batches("test"))
    assert task.metrics(sums, {})["top3_accuracy"] == 1.0


def test_the_head_of_a_file_follows_the_names_that_it_stores(pictures, tmp_path, capsys):
    """Protects fine-tuning from a file whose classes have another order."""
    config = tiny_config(pictures)
    shapes = jax.eval_shape(create_task(config).init, jax.random.key(0))
    variables = jax.tree.map(lambda x: np.random.default_rng(0).random(x.shape, "f4"), shapes)
    config.init.weights = str(tmp_path / "a.safetensors")
    names = {"class_names": ["tulips", "daisy", "roses"]}
    save_safetensors(config.init.weights, variables, config.model.name, **names)
    bias = create_task(config).pretrained_variables()["params"]["logits"]["bias"]
    np.testing.assert_array_equal(bias, variables["params"]["logits"]["bias"][[1, 2, 0]])
    assert "head reordered" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "order"),
    [(["tulips", "daisy", "roses"], [1, 2, 0]), (["cats", "daisy", "roses"], None)],
)
def test_the_head_of_a_run_follows_the_names_of_its_classes(
    names, order, pictures, tmp_path, capsys
):
    """Protects fine-tuning on the same classes in another order, and on as many other classes."""
    config = tiny_config(pictures)
    shapes = jax.eval_shape(create_task(config).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.random(x.shape, np.float32), shapes)
    path = tmp_path / "checkpoints" / "1" / "state"
    state = {name: tree for name, tree in variables.items() if name != "params"}
    with ocp.StandardCheckpointer() as writer:
        writer.save(path, {"params": variables["params"], "model_state": state, "ema": {}})
    (tmp_path / "classes.json").write_text(json.dumps(names))
    config.init.weights = str(tmp_path)
    found = create_task(config).pretrained_variables()
    old, new = (tree["params"]["logits"]["kernel"] for tree in (variables, found))
    if order:
        np.testing.assert_array_equal(new, old[:, order])
        assert "head reordered" in capsys.readouterr().err
    else:
        assert new.shape == old.shape and np.isin(new, old).mean() < 0.01
        assert "head re-initialised" in capsys.readouterr().err
    kernels = (tree["params"]["conv"]["kernel"] for tree in (variables, found))
    np.testing.assert_array_equal(*kernels)
