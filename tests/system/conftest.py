"""Fixtures of the tests that start processes."""

from collections.abc import Iterator

import pytest
from support import forks


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[forks.Forks]:
    """Starts scripts in processes of their own that share compiled programs."""
    found = forks.Forks(tmp_path_factory.mktemp("forks"))
    yield found
    found.close()
