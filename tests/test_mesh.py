"""The mesh of devices, and this process's part of every batch."""

import types

import jax
import numpy as np
import pytest

from netzoo import mesh as meshes
from netzoo.errors import UserError
from netzoo.tasks import create_task
from tests.conftest import tiny_config, tiny_translation_config


def fake_devices(processes: int, each: int):
    """Devices with the numbers that a TPU gives them, which jump between processes."""
    return [
        types.SimpleNamespace(process_index=process, id=10 * local + process)
        for local in range(each)
        for process in range(processes)
    ]


@pytest.fixture
def plain_mesh(monkeypatch):
    """Make `create_mesh` return the array of devices, because fakes cannot form a mesh."""
    monkeypatch.setattr(meshes, "Mesh", lambda devices, names, **options: devices)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("Unable to initialize backend 'tpu'"), ": Unable to initialize"),
        (AssertionError(), r"\."),  # of `JAX_PLATFORMS=cuda` without the package for GPUs
    ],
)
def test_devices_that_jax_cannot_use(error, message, monkeypatch):
    """Protects users without a GPU from a traceback of JAX."""

    def fail():
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    monkeypatch.setenv("JAX_PLATFORMS", "abc")
    expected = f"JAX finds no devices for JAX_PLATFORMS=abc{message}.*JAX_PLATFORMS=cpu"
    with pytest.raises(UserError, match=expected):
        meshes.check_devices()


def test_rows_of_a_process_are_consecutive(plain_mesh):
    """Protects the data: process i reads block i of a batch, so its devices must be block i."""
    grid = meshes.create_mesh(2, fake_devices(processes=2, each=4))
    assert grid.shape == (4, 2)
    assert [device.process_index for device in grid.flat] == [0] * 4 + [1] * 4


def test_minus_one_shares_among_all(plain_mesh):
    """Protects the setting that fits any number of devices."""
    assert meshes.create_mesh(-1, fake_devices(1, 8)).shape == (1, 8)


def test_devices_that_cannot_be_divided(plain_mesh):
    """Protects users from a shape error of NumPy: the message lists valid divisors."""
    with pytest.raises(
        UserError, match=r"sharding\.fsdp is 3, .* 8 devices; use 1, 2, 4, 8, or -1"
    ):
        meshes.create_mesh(3, fake_devices(1, 8))


def rows_of(config, monkeypatch, index: int, count: int):
    """Return the first training and evaluation batch of process `index` of `count`."""
    monkeypatch.setattr(jax, "process_index", lambda: index)
    monkeypatch.setattr(jax, "process_count", lambda: count)
    task = create_task(config)
    test = config.data.test_split
    return next(task.train_iterator()), next(iter(task.evaluation_batches(test)))


@pytest.mark.parametrize("images", [True, False])
def test_processes_divide_a_batch(images, pictures, monkeypatch):
    """Protects multi-host training: the parts of two processes form the batch of one, in order."""
    config = tiny_config(pictures) if images else tiny_translation_config()
    whole = rows_of(config, monkeypatch, 0, 1)
    parts = [rows_of(config, monkeypatch, index, 2) for index in range(2)]
    for expected, *found in zip(whole, *parts, strict=True):
        joined = jax.tree.map(lambda *arrays: np.concatenate(arrays), *found)
        jax.tree.map(np.testing.assert_array_equal, joined, expected)
