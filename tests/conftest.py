"""A strict session: warnings are errors (.pytest.ini), so are surprises of JAX.

Eight fake CPU devices stand for eight real ones. The programs of these tests run for
milliseconds and compile for seconds, so XLA's expensive passes are off, and what one
test, worker or script compiled serves the others until the session ends.
"""

import atexit
import dataclasses
import fcntl
import gc
import os
import pathlib
import shutil
import tempfile

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # workers have it from their parent
    _folder = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _folder
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
if "fusion_emitters" not in os.environ.get("XLA_FLAGS", ""):
    # The older code generator for CPUs compiles these programs twice as fast; the
    # other workers use the cores that splitting a program would.
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "")
        + " --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
        + " --xla_cpu_parallel_codegen_split_count=1"
    )

import jax
import numpy as np
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

# JAX makes millions of objects that live as long as the tests; looking through them
# for garbage would take a tenth of the time.
gc.set_threshold(100_000, 50, 50)

SYSTEM = pathlib.Path(__file__).parent / "system"
# The files that take longest. They come first, so that the last worker to end has not
# begun with one of them while the others are idle.
LONGEST = (
    *("test_hosts_dying", "test_faults", "test_lgan_amplify", "test_bench_images"),
    *("test_bench", "test_lgan_stages", "test_compiled_programs", "test_distributed"),
    *("test_readme", "test_parallel", "test_methods", "test_image_methods"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slow",
        action="store_true",
        help="run what is slow, too: tests/system and a few of tests/unit",
    )


def pytest_ignore_collect(
    collection_path: pathlib.Path, config: pytest.Config
) -> bool | None:
    """Leave out tests/system without --slow; files named as arguments always run."""
    left_out = collection_path == SYSTEM and not config.getoption("--slow")
    return True if left_out else None


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """The longest files first; without --slow no slow tests of tests/unit."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))
    if config.getoption("--slow"):
        return

    def left_out(item: pytest.Item) -> bool:
        return SYSTEM not in item.path.parents and bool(item.get_closest_marker("slow"))

    config.hook.pytest_deselected(items=list(filter(left_out, items)))
    items[:] = [item for item in items if not left_out(item)]


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The file of a classifier of digits that is good enough to judge with."""
    from veegan_jax.classifier import files, network, training
    from veegan_jax.data import images

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers: the first one trains it
    path = folder / "digits.npz"
    with open(folder / "digits.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            recipe = dataclasses.replace(network.RECIPES["digits"], steps=300)
            data = images.load("digits", "train")
            files.save(training.train(data, 0, recipe), path)
    return path


@pytest.fixture
def generator() -> np.random.Generator:
    """NumPy randomness, independent of the package's own."""
    return np.random.default_rng(20170522)
