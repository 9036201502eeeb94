"""Kernels are compiled with optimizations, as in training."""

import pytest


@pytest.fixture(autouse=True)
def _as_in_training(full_compilation):
    """This applies to every test of the folder."""
