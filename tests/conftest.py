"""Compilation in tests, and shared fixtures: a folder of images, tiny configurations."""

import gc
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from netzoo.config import default_config

# Set before anything imports JAX, for the workers and for the processes that tests start. All of
# them, and the next test run, share each compiled program. Programs are compiled without most of
# XLA's optimizations, because they run only once or twice; operations and dtypes stay the same.
CACHE = Path(__file__).parents[1] / ".pytest_cache" / "netzoo"
os.environ["NETZOO_CACHE"] = str(CACHE)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE / "xla"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
# XLA writes a program into one module of LLVM. jaxlib 0.10 can also compile fused operations in an
# older, faster way: a training step of ResNet-18 takes 0.7 s of processor time instead of 2.6 s.
# Newer releases do not know this option, and an unknown option aborts the process.
_HAS_OLD_EMITTERS = version("jaxlib").startswith("0.10.")
_FULL_COMPILATION = {
    "xla_cpu_parallel_codegen_split_count": 32,
    **({"xla_cpu_use_fusion_emitters": True} if _HAS_OLD_EMITTERS else {}),
}
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_cpu_parallel_codegen_split_count=1"
    + " --xla_cpu_use_fusion_emitters=false" * _HAS_OLD_EMITTERS,
)
# Tracing creates many objects and little garbage. Python's default garbage collection, after every
# 700 new objects, took a sixth of the test time.
gc.set_threshold(100_000, 50, 100)


@pytest.fixture
def full_compilation(monkeypatch):
    """Compile with the options of training, for results that XLA's optimizations might change.

    JAX has no setting for the options of every program after XLA has read XLA_FLAGS.
    """
    import jax
    from jax._src import compiler

    options_of = compiler.get_compile_options

    def full_options(*args, **kwargs):
        options = options_of(*args, **kwargs)
        options.env_option_overrides = [*_FULL_COMPILATION.items(), *options.env_option_overrides]
        return options

    monkeypatch.setattr(compiler, "get_compile_options", full_options)
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


def slow(*values):
    """Leave a case of a parametrized test to the slow tier."""
    return pytest.param(*values, marks=pytest.mark.slow)


def own_networks():
    """Return the names of netzoo's networks, without those that tests register."""
    from netzoo.models.registry import list_models, model_entry

    def is_own(name):
        factory = model_entry(name).factory
        return getattr(factory, "func", factory).__module__.startswith("netzoo.")

    return list(filter(is_own, list_models()))


def fast_only(names, fast):
    """Leave every case to the slow tier, except those in `fast`."""
    return [name if name in fast else slow(name) for name in names]


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory):
    """A bucket on this machine, which can fail; see `reliability.emulator`."""
    from reliability.emulator import emulated_bucket

    with emulated_bucket(tmp_path_factory.mktemp("objects")) as emulator:
        yield emulator


@pytest.fixture
def bucket(emulator, request) -> Path:
    """An empty folder of the bucket."""
    from netzoo.paths import run_path

    return run_path(f"gs://bucket/{request.node.name.translate({ord(c): '_' for c in '[]/ '})}")


COLORS = {"daisy": (230, 230, 230), "roses": (180, 30, 60), "tulips": (60, 160, 60)}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of noisy one-colour PNG files in three classes, with splits of 40, 11 and 11."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 11), ("val", 11)):
        for index in range(count):
            name, color = list(COLORS.items())[index % len(COLORS)]
            pixels = np.clip(rng.normal(color, 60, (40, 48, 3)), 0, 255).astype(np.uint8)
            path = root / split / name / f"{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root


def tiny_config(pictures: Path | str) -> ConfigDict:
    """Three layers on `pictures`: 4 epochs of 5 steps, with all kinds of state."""
    import reliability.network  # noqa: F401  as `modules` does in other processes

    config = default_config()
    config.modules = ("reliability.network",)
    config.model.update(name="reliability_small", dropout_rate=0.2)
    config.data.source = f"folder:{pictures}"
    config.data.train_split, config.data.validation_split = "train", "val"
    config.data.test_split = "test"
    config.data.image_size = 32
    config.augment.randaugment_layers = 1
    config.augment.mixup = 0.2
    config.train.epochs = 4
    config.train.batch_size = 8
    config.train.label_smoothing = 0.1
    config.train.ema_decay = 0.9
    config.train.log_every_steps = 1
    config.optimizer.weight_decay = 0.01
    config.schedule.warmup_epochs = 1.0
    config.evaluation.every_epochs = 2
    config.evaluation.batch_size = 4
    config.evaluation.train_examples = 9
    config.checkpoint.every_steps = 3
    return config


def narrow_mobilenet_config(pictures: Path | str) -> ConfigDict:
    """The same configuration for a narrow MobileNetV1."""
    config = tiny_config(pictures)
    config.model = {"name": "mobilenet_v1", "dtype": "float32", "width_multiplier": 0.25}
    return config


def tiny_translation_config() -> ConfigDict:
    """The smallest Transformer on 21 numbers: 4 epochs of 5 steps, which have two shapes."""
    config = default_config("translation")
    config.model.update(variant=(1, 16, 32, 2, 0.1), dropout_rate=0.1)
    config.data.train_split = "train[80:122]"
    config.data.validation_split = "validation[55:66]"
    config.data.test_split = "test[55:66]"
    config.data.vocabulary_size = 80
    config.data.lengths = (8, 16)
    config.train.epochs = 4
    config.train.batch_size = 200
    config.train.ema_decay = 0.9
    config.train.log_every_steps = 1
    config.evaluation.every_epochs = 2
    config.evaluation.batch_size = 200
    config.evaluation.train_examples = 9
    config.evaluation.extra_length = 4
    config.checkpoint.every_steps = 3
    return config
