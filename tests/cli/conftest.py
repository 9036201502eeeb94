"""Fixtures that commands on data share with the tests of data."""

from tests.data.conftest import flowers

__all__ = ["flowers"]
