"""Kernels are compiled as training compiles them: optimizations are what forms are chosen for."""

import pytest


@pytest.fixture(autouse=True)
def _as_in_training(full_compilation):
    """Applies to every test of this folder."""
