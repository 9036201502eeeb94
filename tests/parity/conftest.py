"""Networks are compiled to run once."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _quick(quick_compilation):
    """Applies to every test of this folder."""
