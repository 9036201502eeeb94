"""Networks are compiled to be looked at, not to be used."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _quick(quick_compilation):
    """Applies to every test of this folder."""
