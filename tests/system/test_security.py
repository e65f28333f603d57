"""Files are data, never code: a malicious one is refused, and nothing in it runs."""

import ast
import functools
import os
import pathlib
import pickle
import re

import numpy as np
import pytest

from lgan_jax import cells
from lgan_jax import options as lgan_options
from veegan_jax.classifier import files as classifier_files
from veegan_jax.common import arrays, caches, errors, metrics_log
from veegan_jax.data import images, photo_files
from veegan_jax.experiments import base, ivom_blocks, stored
from veegan_jax.presets import resolve
from veegan_jax.runtime import checkpoint

ROOT = pathlib.Path(__file__).parents[2]
CODE = [
    path
    for folder in ("veegan_jax", "lgan_jax", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
RUNS_CODE = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}

# When a restore fails, orbax leaves coroutines behind whose event loop is closed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)


class Malicious:
    """Unpickled, it makes a folder."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


@pytest.fixture
def canary(tmp_path):
    """A file that exists as soon as another file's contents ran: it must not."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


def test_the_malicious_file_does_what_it_says(tmp_path):
    """Else the tests below would show nothing."""
    path = tmp_path / "proof"
    np.save(tmp_path / "a.npy", np.array([Malicious(path)]), allow_pickle=True)
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert path.exists()


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_read_as_code(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.partition(".")[0] for alias in node.names}
            names.add((getattr(node, "module", "") or "").partition(".")[0])
            assert not names & RUNS_CODE
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in ("eval", "exec", "torch.load", "yaml.load")
        if called in ("np.load", "numpy.load", "jnp.load"):
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert keywords.get("allow_pickle") == "False", f"{path}:{node.lineno}"


def bad_npz(path, canary, *names):
    array = np.array([Malicious(canary)], dtype=object)
    with path.open("wb") as file:
        np.savez(file, **dict.fromkeys(names, array))


def test_classifiers(tmp_path, canary):
    bad_npz(tmp_path / "c.npz", canary, "metadata", "Dense_0/kernel")
    with pytest.raises(errors.InputError, match="is not a classifier"):
        classifier_files.load(tmp_path / "c.npz")


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_samples_to_score(tmp_path, canary, name):
    bad = np.array([Malicious(canary)], dtype=object)
    if name.endswith("npy"):
        np.save(tmp_path / name, bad, allow_pickle=True)
    else:
        bad_npz(tmp_path / name, canary, "x")
    with pytest.raises(errors.InputError, match="holds Python objects"):
        arrays.read(tmp_path / name)
    (tmp_path / name).write_bytes(pickle.dumps(Malicious(canary)))
    with pytest.raises(errors.InputError, match="is not one"):
        arrays.read(tmp_path / name)


def test_blocks_of_ivom(tmp_path, canary):
    block = ivom_blocks.Block(0, "prior", range(4), latent_size=2, reports=3)
    bad_npz(tmp_path / "seed-0-prior-000000.npz", canary, "error", "z")
    assert ivom_blocks.read(block, tmp_path) is None
    assert (tmp_path / "seed-0-prior-000000.npz.damaged").exists()


def test_caches(tmp_path, canary):
    folder = tmp_path / "veegan_jax"
    folder.mkdir()
    bad_npz(folder / "mnist.npz", canary, "image", "label")
    read = functools.partial(images._read_block, dataset="mnist")
    assert caches.Caches(str(tmp_path)).read("mnist.npz", read) is None
    assert (folder / "mnist.npz.damaged").exists()
    cache = photo_files.Cache("key", str(tmp_path))
    np.save(folder / cache._images, np.array([Malicious(canary)]), allow_pickle=True)
    assert cache.read_images((1, 2, 2, 3)) is None
    (folder / cache._index).write_bytes(pickle.dumps(Malicious(canary)))
    assert cache.read(1) is None


def test_cells_of_the_amplification(tmp_path, canary):
    options = lgan_options.preset("digits", generators="lgan", seeds=1)
    path = cells.cell_path(tmp_path, lgan_options.BASIC, "lgan", 0)
    path.parent.mkdir()
    bad_npz(path.with_suffix(".npz"), canary, "image")
    assert cells.read_images(tmp_path, options) == {}
    assert path.with_suffix(".npz.damaged").exists()
    path.write_bytes(pickle.dumps(Malicious(canary)))
    with pytest.raises(errors.InputError, match="cannot be read"):
        cells.read_cells(tmp_path, options)
    assert not cells.is_measured(path)


def test_every_file_of_a_work_directory(tmp_path, canary):
    """One after the other is replaced by a pickle; none of them runs."""
    config = resolve.resolve(
        "gan", "ring", generator_widths=(4,), discriminator_widths=(4,)
    )
    state = base.init_seeds([0], config)
    checkpoints = checkpoint.Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, state)
    checkpoints.close()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "seconds": 1}\n')
    bad = pickle.dumps(Malicious(canary))
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert len(files) > 5
    for path in files:
        good = path.read_bytes()
        path.write_bytes(bad)
        if path.name == "config.json":
            with pytest.raises(errors.InputError, match=r"config\.json"):
                stored.configuration(tmp_path)
        elif path.name == "metrics.jsonl":
            metrics_log.read(tmp_path)
        else:
            reader = checkpoint.Checkpoints(tmp_path / "checkpoints")
            try:
                done, _ = reader.restore(state)
                assert done == 1  # orbax did not need that file
            except errors.InputError as error:
                assert "can be read" in str(error)
            finally:
                reader.close()
        assert not canary.exists(), path
        for aside in (tmp_path / "checkpoints").glob("damaged-*"):
            aside.rename(tmp_path / "checkpoints" / "1")
        path.write_bytes(good)


def test_launch_files_hold_no_secret():
    secret = re.compile(
        r"(pass(word|wd)|secret|api[-_]?key|access[-_]?key|token)\s*[:=]\s*\S"
        r"|-----BEGIN|AKIA[0-9A-Z]{16}|ghp_\w{20}|AIza[\w-]{30}|eyJ[\w-]{20}",
        re.IGNORECASE,
    )
    assert secret.search("password: hunter2") and secret.search("-----BEGIN RSA KEY")
    files = [p for p in (ROOT / "scripts" / "launch").iterdir() if p.is_file()]
    assert len(files) >= 8
    for path in files:
        found = secret.search(path.read_text())
        assert not found, f"{path}: {found}"
