"""Every configuration key has its effect: another value changes the result.

A test that passes an argument to a function does not notice that the key is never passed on.
"""

import functools
import re
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from netzoo.config import save_config, task_table
from netzoo.config.tasks import TASKS
from netzoo.data import images
from netzoo.data.duplicates import Pair, write_pairs
from netzoo.errors import UserError
from netzoo.tasks import create_task, resolve_config
from netzoo.tasks.translation.vocabulary import Vocabulary
from tests import key_effects as effects
from tests.conftest import tiny_config, tiny_translation_config


class Case(NamedTuple):
    """Another value of a key, and what it changes."""

    value: Any
    effects: tuple[Callable, ...]
    given: dict[str, Any] = {}  # noqa: RUF012  other keys that the key needs


def case(value, *effects, **given):
    return Case(value, effects, {name.replace("__", "."): v for name, v in given.items()})


SGD, RMSPROP = {"optimizer__name": "sgd"}, {"optimizer__name": "rmsprop"}
DECAYED = {"optimizer__weight_decay": 0.1}
STAIRS = {"schedule__name": "exponential", "schedule__decay_epochs": 1.0}
RESTARTS = {"schedule__name": "cosine_restarts", "schedule__cycle_epochs": 1.0}
TAUGHT = {"distill__teacher": ("@weights",)}
NO_DATA = {"data__source": "tfds:no_such_data"}
MULTI_LABEL = {"train__loss": "focal", "train__label_smoothing": 0.0}
FOLDED = {"data__validation_split": None, "data__fold": (0, 4)}
# "@NAME" is a path of the fixture `paths`.
ANY_TASK = {
    "seed": case(1, effects.parameters, effects.noise, effects.labels),
    "modules": case(("reliability.network", "module_of_keys"), effects.imported),
    "init.weights": case("@weights", effects.pretrained),
    "data.data_dir": case("@elsewhere", effects.prepared_in, **NO_DATA, data__data_dir="@weights"),
    "data.validation_split": case("test", effects.evaluated),
    "data.test_split": case("val", effects.tested, data__validation_split=None),
    "data.on_change": case("continue", effects.changed_data),
    "data.num_threads": case(3, effects.threads),
    "train.epochs": case(2, effects.update, effects.rates, effects.run),
    "train.grad_accum_steps": case(2, effects.step),
    "train.label_smoothing": case(0.3, effects.loss),
    "train.clip_norm": case(0.5, effects.update),
    "train.ema_decay": case(0.7, effects.step),
    "train.ema_warmup": case("debias", effects.step),
    "train.swa_epochs": case(1, effects.step, train__ema_decay=0.0),
    "train.batch_norm_batches": case(2, effects.estimation),
    "train.batch_norm_groups": case(2, effects.loss),
    "train.patience": case(1, effects.run, evaluation__every_epochs=1),
    "train.on_nonfinite": case("skip", effects.step),
    "train.remat": case("blocks", effects.loss),
    "train.log_every_steps": case(2, effects.run),
    "optimizer.name": case("sgd", effects.update),
    "optimizer.learning_rate": case(0.5, effects.update, effects.rates),
    "optimizer.momentum": case(0.5, effects.update, **SGD),
    "optimizer.nesterov": case(True, effects.update, **SGD),
    "optimizer.b1": case(0.5, effects.update),
    "optimizer.b2": case(0.5, effects.update),
    "optimizer.decay": case(0.5, effects.update, **RMSPROP),
    "optimizer.epsilon": case(0.1, effects.update),
    "optimizer.weight_decay": case(0.1, effects.update),
    "optimizer.lr_mults": case(((".*/bias", 0.5), (".*", 1.0)), effects.update, effects.tables),
    "optimizer.sam_rho": case(0.1, effects.step),
    "optimizer.unfreeze": case((("logits/.*", 0.0), (".*", 1.0)), effects.step, effects.tables),
    "optimizer.layer_decay": case(0.7, effects.step, effects.tables),
    "optimizer.weight_decay_mults": case(((".*", 1.0),), effects.update, effects.tables, **DECAYED),
    "schedule.name": case("constant", effects.update, effects.rates),
    "schedule.warmup_epochs": case(2.0, effects.update, effects.rates),
    "schedule.decay_rate": case(0.5, effects.rates, **STAIRS),
    "schedule.decay_epochs": case(2.0, effects.rates, **STAIRS),
    "schedule.cycle_epochs": case(2.0, effects.rates, **RESTARTS),
    "schedule.cycle_factor": case(2.0, effects.rates, **RESTARTS),
    "schedule.pct_start": case(0.5, effects.rates, schedule__name="onecycle"),
    "schedule.div_factor": case(5.0, effects.rates, schedule__name="onecycle"),
    "schedule.plateau_factor": case(0.5, effects.step, schedule__name="plateau"),
    "schedule.plateau_epochs": case(2, effects.step, schedule__name="plateau"),
    "schedule.final_factor": case(0.1, effects.rates),
    "schedule.cooldown_epochs": case(1.0, effects.rates),
    "evaluation.every_epochs": case(1, effects.run),
    "evaluation.batch_size": case(2, effects.evaluated),
    "evaluation.train_examples": case(5, effects.evaluated),
    "checkpoint.every_steps": case(4, effects.run),
    "checkpoint.keep": case(1, effects.run),
    "sharding.fsdp": case(2, effects.run),
    "sharding.parameters": case((("conv/kernel", -1), (".*", None)), effects.shards),
    "sharding.min_size": case(64, effects.shards),
    "sharding.describe": case(True, effects.tables),
    "matmul_precision": case("highest", effects.evaluation_precision),
    "writers": case(("jsonl",), effects.run),
    "profile": case(True, effects.run),
}
MOBILENET = {"model__name": "mobilenet_v1", "data__image_size": 32}
ERASED = {"augment__erasing_prob": 1.0}
CASES = {
    "image_classification": {
        **ANY_TASK,
        "task": case("translation", effects.task_type),
        "seed": case(1, *ANY_TASK["seed"].effects, effects.distorted),
        "model.name": case("alexnet_owt", effects.loss, effects.scores, data__image_size=64),
        "model.dtype": case("bfloat16", effects.loss, effects.scores),
        "data.source": case("folder:@elsewhere", effects.batches, effects.evaluated),
        "data.train_split": case("train[:20]", effects.batches, effects.evaluated),
        "data.fold": case((1, 4), effects.batches, effects.evaluated, **FOLDED),
        "data.fold_seed": case(1, effects.batches, effects.evaluated, **FOLDED),
        "data.multi_label": case(True, effects.loss, **MULTI_LABEL),
        "data.image_size": case(12, effects.batches, effects.evaluated),
        "data.cache": case("decoded", effects.cached),
        "data.on_corrupt": case("skip", effects.readable, data__source="folder:@corrupt"),
        "data.mean": case((100.0, 110.0, 120.0), effects.loss, effects.scores),
        "data.std": case((50.0, 60.0, 70.0), effects.loss, effects.scores),
        "train.batch_size": case(6, effects.batches),
        "augment.crop_scale": case((0.1, 0.2), effects.distorted),
        "augment.crop_ratio": case((0.2, 0.3), effects.distorted),
        "augment.flip": case(False, effects.distorted),
        "augment.policy": case("trivialaugment", effects.distorted),
        "augment.randaugment_layers": case(3, effects.distorted),
        "augment.randaugment_magnitude": case(2.0, effects.distorted),
        "augment.color_jitter": case((0.4, 0.4, 0.4, 0.1), effects.distorted),
        "augment.erasing_prob": case(1.0, effects.distorted),
        "augment.erasing_area": case((0.5, 0.6), effects.distorted, **ERASED),
        "augment.erasing_ratio": case((5.0, 6.0), effects.distorted, **ERASED),
        "augment.erasing_fill": case("mean", effects.distorted, **ERASED),
        "augment.custom": case("negative", effects.distorted, modules=("module_of_keys",)),
        "augment.repeats": case(2, effects.labels, effects.distorted),
        "augment.mixup": case(0.9, effects.loss),
        "augment.cutmix": case(0.9, effects.loss),
        "augment.mixup_prob": case(0.4, effects.loss),
        "augment.mixup_switch_prob": case(0.4, effects.loss, augment__cutmix=1.0),
        "train.loss": case("binary_cross_entropy", effects.loss),
        "train.bce_threshold": case(0.2, effects.loss, train__loss="binary_cross_entropy"),
        "train.poly_epsilon": case(1.0, effects.loss, train__loss="poly"),
        "train.focal_gamma": case(1.0, effects.loss, train__loss="focal"),
        "train.focal_alpha": case(0.25, effects.loss, train__loss="focal"),
        "train.asymmetric_gammas": case((1.0, 4.0), effects.loss, train__loss="asymmetric"),
        "train.asymmetric_margin": case(0.1, effects.loss, train__loss="asymmetric"),
        "train.balance": case("loss", effects.loss),
        "train.class_weights": case((("roses", 2.0),), effects.loss),
        "train.freeze_batch_norm": case(True, effects.loss),
        "train.image_sizes": case(((1, 48),), effects.batches, **MOBILENET),
        "distill.teacher": case(("@weights",), effects.step),
        "distill.kind": case("hard", effects.step, **TAUGHT),
        "distill.temperature": case(2.0, effects.step, **TAUGHT),
        "distill.alpha": case(0.9, effects.step, **TAUGHT),
        "distill.image_size": case(9, effects.step, **TAUGHT),
        "evaluation.crop_pct": case(0.5, effects.evaluated),
        "evaluation.tta": case("crops", effects.evaluated),
        "evaluation.duplicates": case("@duplicates", effects.reported),
        "evaluation.top_k": case(2, effects.metrics, effects.scores),
    },
    # Its own keys, and those of all tasks that its code reads.
    "translation": {
        "seed": case(1, effects.batches),
        "model.dtype": case("bfloat16", effects.loss),
        "init.weights": case(
            "@words", effects.pretrained, data__vocabulary="@words/vocabulary.model"
        ),
        "data.source": case("parallel:@texts.{a,b}", effects.batches, effects.evaluated),
        "data.data_dir": case(
            "@elsewhere", effects.prepared_in, data__source="tfds:no_data.{en,de}"
        ),
        "data.train_split": case("train[80:110]", effects.batches, effects.evaluated),
        "data.validation_split": case("test[:9]", effects.evaluated),
        "data.test_split": case("validation[:9]", effects.tested),
        "data.num_threads": case(3, effects.threads),
        "data.vocabulary": case("@vocabulary", effects.batches, effects.evaluated),
        "data.vocabulary_size": case(70, effects.batches),
        "data.lengths": case((4, 32), effects.batches, effects.searched),
        "data.row_multiple": case(4, effects.batches, effects.evaluated),
        "train.batch_size": case(100, effects.batches),
        "train.label_smoothing": case(0.3, effects.loss),
        "train.remat": case("blocks", effects.loss),
        "evaluation.batch_size": case(64, effects.evaluated, effects.searched),
        "evaluation.train_examples": case(5, effects.evaluated),
        "evaluation.beam_size": case(2, effects.searched),
        "evaluation.length_penalty": case(0.9, effects.searched),
        "evaluation.extra_length": case(9, effects.searched),
        "evaluation.bleu_tokenizer": case("char", effects.signature),
    },
}
OWN_MODULE = """
from netzoo.data.images import AUGMENTATIONS
AUGMENTATIONS["negative"] = lambda image, rng: 255 - image
"""


def write_run(folder, config):
    """Write a run with random weights."""
    folder.mkdir()
    task, rng = create_task(config), np.random.default_rng(0)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    variables = jax.tree.map(lambda x: rng.random(x.shape, np.float32), shapes)
    params = variables.pop("params")
    with ocp.StandardCheckpointer() as writer:
        state = {"params": params, "model_state": variables, "ema": {}}
        writer.save(folder / "checkpoints" / "1" / "state", state)
    task.save(folder)
    save_config(task.config, folder)


@pytest.fixture(scope="module")
def paths(pictures, tmp_path_factory):
    """Other pictures, corrupt pictures, sentences, a vocabulary, and runs of both tasks."""
    root = tmp_path_factory.mktemp("keys")
    names = ("elsewhere", "corrupt", "texts", "vocabulary", "weights", "words", "duplicates")
    paths = {name: root / name for name in names}
    for name in ("elsewhere", "corrupt"):
        shutil.copytree(pictures, paths[name])
    for split in ("train", "val"):
        next((paths["elsewhere"] / split / "roses").iterdir()).unlink()
    bad = next((paths["corrupt"] / "train" / "roses").iterdir())
    bad.write_bytes(bad.read_bytes()[:-100])
    paths["texts"].mkdir()
    pair = Pair(0, True, "test/daisy/00.png", "test", "daisy", "x", "train", "roses")
    write_pairs(paths["duplicates"], [pair])
    for split in ("train", "validation", "test"):
        for language in "ab":
            lines = (f"{language} {number * 7 % 1000}\n" for number in range(200))
            (paths["texts"] / f"{split}.{language}").write_text("".join(lines))
    Vocabulary.learn(["nine hundred twelve 0123456789"] * 9, 40).save(paths["vocabulary"])
    write_run(paths["weights"], base("image_classification", pictures))
    write_run(paths["words"], base("translation", pictures))
    with pytest.MonkeyPatch.context() as patch:
        (root / "module_of_keys.py").write_text(OWN_MODULE)
        patch.syspath_prepend(root)
        patch.setattr(images, "AUGMENTATIONS", {})
        yield paths


def base(task, pictures):
    """A small configuration of a task, without a warm-up, which would hide other keys."""
    config = tiny_config(pictures) if task == "image_classification" else tiny_translation_config()
    if task == "image_classification":
        config.data.image_size = 8
        config.schedule.warmup_epochs = 0.0
    return config


def with_paths(text, paths):
    return re.sub(r"@(\w+)", lambda match: str(paths[match[1]]), text)


def observe(effect, config, values, paths):
    """Return what an effect finds for a configuration with these values."""
    for key, value in values.items():
        if isinstance(value, str):
            value = with_paths(value, paths)
        elif isinstance(value, tuple):
            value = tuple(with_paths(x, paths) if isinstance(x, str) else x for x in value)
        config.update_from_flattened_dict({key: value})
    return effect(resolve_config(config))


@functools.cache
def observed_before(effect, task, given, pictures, paths):
    """Return the result of an effect for a key's default, after checking that it is repeatable."""
    before, again = (
        observe(effect, base(task, pictures), dict(given), dict(paths)) for _ in range(2)
    )
    assert before == again, f"{effect.__name__} depends on more than the configuration"
    return before


PAIRS = [(task, name) for task, cases in CASES.items() for name in cases]


@pytest.mark.parametrize(("task", "name"), PAIRS)
def test_another_value_changes_what_it_should(task, name, pictures, paths):
    """Protects every key from being ignored on its way to its effect."""
    value, effects_of_key, given = CASES[task][name]
    for effect in effects_of_key:
        known = tuple(given.items()), pictures, tuple(paths.items())
        before = observed_before(effect, task, *known)
        try:
            after = observe(effect, base(task, pictures), {**given, name: value}, paths)
        except UserError as error:
            after = str(error)
        assert before != after, f"{name} = {value!r} does not change {effect.__name__}"


def test_every_key_has_a_case():
    """Protects new keys: a key without an effect here fails."""
    for task in TASKS:
        names = {*task_table(task).keys}
        assert {*CASES[task]} <= names
        assert names <= {name for cases in CASES.values() for name in cases}
