"""The slow tests: processes, faults, launch files and benches."""

import pathlib
from collections.abc import Iterator

import pytest
from support import forks
from support.faults import SCRIPT, TINY, steps


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as slow."""
    for item in items:
        if pathlib.Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[forks.Forks]:
    """Starts scripts in processes of their own that share compiled programs."""
    found = forks.Forks(tmp_path_factory.mktemp("forks"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def whole(scripts, tmp_path_factory) -> pathlib.Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = scripts.run(SCRIPT, *TINY, "--workdir=whole", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert steps(folder / "whole") == [200, 300, 400]
    return folder / "whole"
