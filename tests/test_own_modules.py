"""The examples of docs/network.md run, and later processes find what they add."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from netzoo.config import save_config
from netzoo.data import images
from netzoo.data.sources import open as sources
from netzoo.models import registry
from netzoo.tasks import create_task, resolve_config
from netzoo.training import optimizer, schedule
from tests.conftest import tiny_config
from tests.pages.blocks import blocks_of
from tests.training.runs import ROOT

NAMES = ("my_network.py", "my_module.py")
BLOCKS = [block.code for block in blocks_of(ROOT / "docs/network.md")]
MODULES = {name: block for name in NAMES for block in BLOCKS if block.startswith(f"# {name}\n")}
[LINES] = [block for block in BLOCKS if block.startswith("config.modules")]


@pytest.fixture
def own_config(pictures, tmp_path):
    """The tiny configuration, with the modules of the examples in the folder `path`."""
    (tmp_path / "path").mkdir()
    for name, text in MODULES.items():
        (tmp_path / "path" / name).write_text(text)
    config = tiny_config(pictures)
    config.model = {"name": "", "dtype": "bfloat16"}
    config.data.validation_split = None
    exec(LINES, {"config": config})
    config.train.epochs = 2
    return config


@pytest.fixture
def clean(tmp_path, monkeypatch):
    """Remove the modules from the path and from the tables afterwards."""
    monkeypatch.syspath_prepend(tmp_path / "path")
    tables = (registry._ENTRIES, optimizer.OPTIMIZERS, images.AUGMENTATIONS, sources.SOURCES)
    copies = [dict(table) for table in tables]
    yield
    for table, copy in zip(tables, copies, strict=True):
        table.clear()
        table.update(copy)
    for name in MODULES:
        sys.modules.pop(name.removesuffix(".py"), None)


@pytest.mark.slow
def test_the_examples(own_config, clean):
    """Protects the first hour of a newcomer: network, optimizer and augmentation work."""
    config = resolve_config(own_config)
    task = create_task(config)
    variables = task.init(jax.random.key(0))
    batch = next(task.train_iterator())
    assert batch["image"].shape == (8, 32, 32, 3)
    # Stripes are never black, and the square has 64 pixels.
    assert ((batch["image"] == 0).all(-1).sum((1, 2)) == 64).all()
    logits = task.model.apply(variables, jnp.zeros((2, 32, 32, 3)), train=False)
    assert logits.shape == (2, 2) and logits.dtype == jnp.float32
    rate = schedule.create_schedule(config, task.steps_per_epoch)
    update = optimizer.create_optimizer(config, rate, variables["params"])
    grads = jax.tree.map(jnp.ones_like, variables["params"])
    state = update.init(variables["params"])
    _, state = update.update(grads, state, variables["params"])  # in the warm-up from 0
    updates, _ = update.update(grads, state, variables["params"])
    # For a constant gradient, AMSGrad moves every parameter by the learning rate; biases and scales
    # have no weight decay.
    np.testing.assert_allclose(updates["logits"]["bias"], -rate(1), rtol=1e-4)


@pytest.mark.slow  # the fast test above imports the modules as these processes do
def test_eval_and_predict_find_them_again(own_config, pictures, tmp_path):
    """Protects users' own networks in later processes: the run records the modules it needs."""
    (tmp_path / "saved").mkdir()
    save_config(own_config, tmp_path / "saved")
    experiment = tmp_path / "experiment.py"
    experiment.write_text(
        "from netzoo.config import load_config\n\n\ndef get_config():\n"
        f"    return load_config({str(tmp_path / 'saved')!r})\n"
    )

    def netzoo(*arguments, path=tmp_path / "path"):
        environment = {**os.environ, "PYTHONPATH": str(path)}
        command = [sys.executable, "-m", "netzoo", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    workdir = ("--workdir", tmp_path / "run")
    done = netzoo("train", "--config", experiment, *workdir)
    assert done.returncode == 0, done.stderr
    done = netzoo("eval", *workdir)
    assert done.returncode == 0, done.stderr
    assert "importing my_network from" in done.stderr
    done = netzoo("predict", *workdir, "--json", pictures / "test" / "daisy")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 4
    done = netzoo("eval", *workdir, path="")
    assert done.returncode == 1
    assert "my_network, which is not on the import path" in done.stderr
