"""A finished run that several tests copy."""

import pytest

from tests.training.runs import start


@pytest.fixture(scope="session")
def whole(pictures, tmp_path_factory):
    """An uninterrupted run."""
    workdir = tmp_path_factory.mktemp("whole")
    done = start(pictures, workdir, umask=0o027)
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir
