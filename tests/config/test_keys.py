"""The table of keys: every key rejects invalid values, and the documents match."""

import itertools
import math
from pathlib import Path

import pytest

from netzoo.cli import keys
from netzoo.config import default_config, task_table, validate
from netzoo.config.rules import TYPES
from netzoo.config.tasks import TASKS
from netzoo.errors import UserError

DOCUMENT = Path(__file__).parents[2] / "docs" / "configs.md"
IMAGES = "image_classification"
SCHEDULE_FREE = {"optimizer__name": "schedule_free_sgd", "schedule__name": "constant"}
TABLE_OF = {task: task_table(task) for task in TASKS}
# Maps every key to the first task that has it.
TASK_OF = {name: task for task in reversed(TASKS) for name in TABLE_OF[task].keys}
NAN, INF = math.nan, math.inf
TABLES = (
    (),
    (1.0,),
    ((".*", -1.0),),
    (("[", 1.0),),
    ((3000 * "(" + 3000 * ")", 1.0),),
    ((".*", "x"),),
    ((".*", NAN),),
)

# Invalid values by the text of a shared rule.
REFUSED_BY = {
    "a name, not empty": ("", " "),
    "a path, not an address such as gs://BUCKET": ("", " ", "gs://bucket/x"),
    "a path, or the address of a run in a bucket, gs://BUCKET/RUN": ("", " ", "s3://bucket/x"),
    "a path, or the address of a folder in a bucket, gs://BUCKET/DATA": ("", "s3://bucket/x"),
    "at least 0": (-1, -0.5, INF, NAN),
    "at least 1": (0, -1, 0.5, INF, NAN),
    "more than 0": (0.0, -1.0, INF, NAN),
    "in (0, 1)": (0.0, 1.0, NAN),
    "in [0, 1)": (1.0, -0.1, NAN),
}
# Invalid values of keys with other rules; new keys must be added.
OUT_OF_RANGE = {
    "seed": (-1, 2**32),
    "task": ("translatoin", ""),
    "modules": (("a b",), ("..os",), ("",), (1,), ("netzoo.cli.train",), ("a.__main__",)),
    "model.dtype": ("float16", ""),
    "matmul_precision": ("float32", "BFLOAT16", ""),
    "data.cache": ("disk", ""),
    "data.on_corrupt": ("ignore", ""),
    "data.on_change": ("ignore", ""),
    "train.ema_warmup": ("timm", ""),
    "train.on_nonfinite": ("ignore", ""),
    "data.image_size": (0, 4097, 100_000),
    "data.fold": ((4, 4), (-1, 4), (0, 1), (0,), (0.5, 2), ("a", 2)),
    "data.fold_seed": (-1, 2**32),
    "train.image_sizes": (((0, 96), (0, 128)), ((-1, 96),), ((0, 0),), ((0.5, 96),), (96,)),
    "data.mean": ((1.0, 2.0), (1.0, 2.0, "x"), (1.0, 2.0, NAN)),
    "data.std": ((1.0, 2.0), (1.0, 2.0, 0.0), (1.0, 2.0, INF)),
    "data.vocabulary_size": (7,),
    "data.lengths": ((), (1,), (32, 16), (16, 16), (8.5,), ("a",)),
    "augment.crop_scale": ((0.5, 0.2), (0.0, 1.0), (0.5, 1.1), (0.5,), ("a", 1), (NAN, 1.0)),
    "augment.crop_ratio": ((2.0, 1.0), (0.0, 1.0), (1.0,), (1.0, INF)),
    "augment.mixup_prob": (-0.1, 1.1, NAN),
    "augment.mixup_switch_prob": (-0.1, 1.1, NAN),
    "augment.policy": ("none", ""),
    "augment.color_jitter": ((0.4, 0.4, 0.4), (0.4, 0.4, -0.1, 0.0), (0, 0, 0, 0.6), ("a",) * 4),
    "augment.erasing_prob": (-0.1, 1.1, NAN),
    "augment.erasing_area": ((0.5, 0.2), (0.0, 0.3), (0.5, 1.1)),
    "augment.erasing_ratio": ((2.0, 1.0), (0.0, 1.0), (1.0,)),
    "augment.erasing_fill": ("random", ""),
    "augment.randaugment_magnitude": (-1.0, 10.5, NAN),
    "train.loss": ("mse", ""),
    "train.balance": ("weights", "True"),
    "train.class_weights": ((("a", -1.0),), (("a", NAN),), ((1, 1.0),), ("a", "b")),
    "train.poly_epsilon": (-1.5, INF, NAN),
    "train.asymmetric_gammas": ((4.0,), (0.0, -1.0), (0.0, NAN), ("a", 1)),
    "train.remat": ("", "all", "True"),
    "distill.teacher": (("",), (" ",), (1,), ("s3://bucket/x",)),
    "distill.kind": ("warm", ""),
    "distill.alpha": (-0.1, 1.1, NAN),
    "distill.image_size": (0, 4097),
    "evaluation.beam_size": (0, 257),
    "evaluation.bleu_tokenizer": ("mecab", ""),
    "optimizer.name": ("", " "),
    "optimizer.lr_mults": (*TABLES, ((".*", 0.0),)),
    "optimizer.weight_decay_mults": TABLES,
    "schedule.name": ("step", ""),
    "optimizer.unfreeze": (*TABLES, ((".*", 1.0),)),
    "optimizer.layer_decay": (0.0, 1.1, NAN),
    "schedule.decay_rate": (0.0, 1.5, NAN),
    "evaluation.crop_pct": (0.0, 0.01, 1.5, NAN),
    "evaluation.tta": ("mirror", True),
    "writers": ((), ("tensorboard",), ("jsonl", "jsonl"), ("jsonl", "csv")),
    "sharding.fsdp": (0, -2),
    "sharding.parameters": ((), ((".*", 1.5),), ((".*", "smallest"),), (("[", None),)),
}
# Both values of a switch are valid.
ANY = {
    *("augment.flip", "data.multi_label", "train.freeze_batch_norm"),
    *("optimizer.nesterov", "sharding.describe", "profile"),
}
# Values of wrong types in a file.
WRONG = {bool: 1, int: 1.5, float: "x", str: 3, tuple: 3}


def refusal(of_task: str, /, training: bool = False, **values) -> str:
    """Return the message for the defaults with other values; `section__key` is a key."""
    config = default_config(of_task)
    for name, value in values.items():
        *section, inner = name.split("__")
        (config[section[0]] if section else config)[inner] = value
    with pytest.raises(UserError) as error:
        validate(config, training=training)
    return str(error.value)


def changed(name: str, value) -> str:
    return refusal(TASK_OF[name], **{name.replace(".", "__"): value})


def cases() -> dict:
    """Return the values that each key refuses."""
    keys = {name: key for table in TABLE_OF.values() for name, key in table.keys.items()}
    by_rule = {
        name: [v for v in REFUSED_BY[key.rule.wanted] if isinstance(v, key.type)]
        for name, key in keys.items()
        if key.rule and key.rule.wanted in REFUSED_BY
    }
    assert all(by_rule.values())
    return by_rule | OUT_OF_RANGE


@pytest.mark.parametrize("task", TASKS)
def test_defaults_are_valid(task):
    """Protects the defaults of every task."""
    validate(default_config(task), training=True)


def test_unknown_task():
    """Protects a misspelt task from a traceback."""
    with pytest.raises(UserError, match="translation"):
        default_config("translatoin")


def test_every_key_has_a_case():
    """Protects new keys: a key without a rule must be a switch."""
    assert {*cases()} | ANY == {*TASK_OF}
    ruled = {name for table in TABLE_OF.values() for name, key in table.keys.items() if key.rule}
    assert not ANY & ruled


def test_out_of_range():
    """Protects every key's range: the key, the value and the rule are in the message."""
    for name, values in cases().items():
        for value in values:
            message = changed(name, value)
            if name == "task":
                assert f"unknown task {value!r}" in message
                continue
            key = TABLE_OF[TASK_OF[name]].keys[name]
            expected = message.splitlines()[0].partition(f"{name} is {value!r:.200}; expected ")[2]
            assert expected.removesuffix(", or None") in (
                key.rule.wanted,
                TYPES[key.type].wanted,
            ), message


def test_wrong_type():
    """Protects every key's type in a file."""
    for name, task in TASK_OF.items():
        if name != "task":
            key = TABLE_OF[task].keys[name]
            message = changed(name, WRONG[key.type])
            by_rule = key.rule and key.type in (str, tuple)
            wanted = (key.rule if by_rule else TYPES[key.type]).wanted
            assert f"{name} is {WRONG[key.type]!r}; expected {wanted}" in message


def test_values_that_users_take_for_valid():
    """Protects users from misleading errors about values that seem valid."""
    assert "expected three numbers for red, green and blue" in changed("data.mean", 127.5)
    assert "expected no value: it comes from the data" in refusal(IMAGES, model__num_classes=5)
    assert "it comes from the network's name, model.name" in refusal(IMAGES, model__stages=(1,))


def test_null_characters():
    """Protects paths from null characters."""
    assert "expected text without null characters" in changed("data.source", "folder:a\0b")


def test_all_faults_are_reported_at_once():
    """Protects users from fixing one key per attempt."""
    message = refusal(IMAGES, train__batch_size=0, data__cache="disk", train__on_nonfinite="ignore")
    for name in ("train.batch_size is 0", "data.cache is 'disk'", "on_nonfinite is 'ignore'"):
        assert f"{name}; expected" in message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schedule__name": "inverse_sqrt"}, "warmup_epochs is 0.0; expected more than 0 for"),
        (
            {"schedule__name": "onecycle", "schedule__warmup_epochs": 1.0},
            "warmup_epochs is 1.0; expected 0 for onecycle",
        ),
        (
            {"train__swa_epochs": 2, "train__ema_decay": 0.9},
            "epochs is 2; expected 0 with train.ema",
        ),
        (
            {"optimizer__name": "schedule_free_adamw"},
            "schedule.name is 'cosine'; expected 'constant' for schedule_free_adamw",
        ),
        (
            SCHEDULE_FREE | {"schedule__cooldown_epochs": 2.0},
            "epochs is 2.0; expected 0 for schedule_free_sgd, whose",
        ),
        (
            SCHEDULE_FREE | {"train__ema_decay": 0.9},
            "decay is 0.9; expected 0 for schedule_free_sgd, which keeps an average of its own",
        ),
        (SCHEDULE_FREE | {"train__swa_epochs": 3}, "epochs is 3; expected 0 for schedule_free_sgd"),
        (
            SCHEDULE_FREE | {"optimizer__unfreeze": (("a", 0.0), (".*", 1.0))},
            "expected its default for schedule_free_sgd",
        ),
        (
            {"train__batch_norm_batches": 2},
            "batches is 2; expected 0 without train.ema_decay, train",
        ),
        (
            {
                "train__batch_norm_batches": 2,
                "train__ema_decay": 0.9,
                "train__freeze_batch_norm": True,
            },
            "batches is 2; expected 0 with train.freeze_batch_norm",
        ),
        (
            {"train__patience": 3, "evaluation__every_epochs": 0},
            "patience is 3; expected 0 with evaluation.every_epochs = 0",
        ),
        ({"train__grad_accum_steps": 3}, "steps is 3; expected a divisor of train.batch_size (32)"),
        (
            {"train__batch_norm_groups": 16, "train__grad_accum_steps": 4},
            "groups is 16; expected a divisor of train.batch_size / train.grad_accum_steps (8)",
        ),
        (
            {"train__batch_norm_groups": 2, "train__freeze_batch_norm": True},
            "groups is 2; expected 1 with train.freeze_batch_norm",
        ),
        (
            {"optimizer__nesterov": True},
            "nesterov is True; expected False, the default, because adamw",
        ),
        (
            {"optimizer__name": "sgd", "optimizer__b1": 0.8, "optimizer__b2": 0.8},
            "expected 0.9, the default, because sgd does not use it\noptimizer.b2 is 0.8",
        ),
        (
            {"train__loss": "focal", "train__poly_epsilon": 1.0},
            "poly_epsilon is 1.0; expected 2.0, the default, because focal does not use it",
        ),
        (
            {"train__balance": "loss", "train__class_weights": (("a", 2.0),)},
            "class_weights is (('a', 2.0),); expected () with train.balance = 'loss'",
        ),
        ({"train__epoch": 3}, "unknown key 'train.epoch'; did you mean train.epochs"),
    ],
)
def test_contradictions(values, message):
    """Protects from conflicting and unknown keys."""
    assert message in refusal(IMAGES, training=True, **values)


def test_keys_that_the_optimizer_does_not_use():
    """Protects earlier runs, which can still be evaluated, and optimizers of a user's module."""
    config = default_config(IMAGES)
    config.optimizer.update(name="sgd", b1=0.8)
    validate(config)
    config.optimizer.name = "my_own"
    validate(config, training=True)
    translation = default_config("translation")  # another default of `b2`
    translation.optimizer.name = "sgd"
    validate(translation, training=True)


def test_contradictions_of_translation():
    """Protects the rules of each task."""
    assert "divisor of data.row_multiple (8" in refusal("translation", train__grad_accum_steps=3)
    assert "warmup_epochs is 0.0" in refusal("translation", schedule__warmup_epochs=0.0)


@pytest.mark.parametrize(
    ("split", "other"),
    [
        ("train", "train"),
        ("train", "train[80%:]"),
        ("train[:80%]", "train[10%:20%]"),
        ("train[:80%]", "train[70%:]"),
        ("train[:80%]", " train[79%:90%]"),
        ("train[:80%]", "train[-21%:]"),
        ("train[:100]", "test + train[99:]"),
        ("train[:80%]+test", "test[:9]"),
    ],
)
@pytest.mark.parametrize("names", [*itertools.permutations(("train", "validation", "test"), 2)])
def test_splits_that_share_examples_are_refused(split, other, names):
    """Protects scores from training examples: any two splits must be disjoint."""
    values = {f"data__{name}_split": part for name, part in zip(names, (split, other), strict=True)}
    [one, two] = [name for name in ("train", "validation", "test") if name in names]
    message = refusal(IMAGES, training=True, **values)
    assert f"data.{two}_split is " in message
    assert f"expected a split that shares no examples with data.{one}_split" in message


@pytest.mark.parametrize("test", ["train[90%:]", "test", "train[100:]", "training", None])
def test_splits_that_are_apart_and_those_of_an_evaluation(test):
    """Protects disjoint slices, training without a test split, and evaluation on any split."""
    config = default_config()
    config.data.train_split, config.data.validation_split = "train[:80%]", "train[80%:90%]"
    config.data.test_split = test
    validate(config, training=True)
    config.data.test_split = "train[80%:90%]"
    validate(config)


@pytest.mark.parametrize(
    ("task", "option", "value"),
    [
        (IMAGES, "dropout_rate", 1.0),
        (IMAGES, "width_multiplier", "0.5"),
        (IMAGES, "padding", "valid"),
        (IMAGES, "zero_init_last_norm", "no"),
        (IMAGES, "num_classes", 5),
        ("translation", "variant", (2, 128)),
        ("translation", "final_norm", 1),
    ],
)
def test_options_of_networks(task, option, value):
    """Protects the options of networks under `model`."""
    wanted = TABLE_OF[task].options[option].wanted
    message = refusal(task, **{f"model__{option}": value})
    assert message == f"model.{option} is {value!r}; expected {wanted}"


def test_the_document_is_the_table():
    """Protects the tables of docs/configs.md from being outdated."""
    assert keys.markdown() in DOCUMENT.read_text(), "netzoo keys --markdown"


def test_help_has_every_key():
    """Protects `train.py --help`, which prints the table."""
    text = keys.text()
    assert all(f"  {name} = " in text for name in TASK_OF)
