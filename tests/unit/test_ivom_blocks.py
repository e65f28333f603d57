"""Blocks of IvOM: what is no block of this measurement is set aside."""

import numpy as np
import pytest
from support import tiny

from veegan_jax.experiments import ivom as ivom_experiment
from veegan_jax.experiments import ivom_blocks
from veegan_jax.presets import resolve

BLOCK = ivom_blocks.Block(3, "prior", range(4, 8), latent_size=2, reports=3)
GOOD = {
    "error": np.array([0.1, np.nan, np.inf, 0.2], np.float32),
    "z": np.ones((4, 2), np.float32),
    "curve": np.ones((4, 3), np.float32),
    "converged": np.ones(4, bool),
    "seconds": np.float64(2.5),
}


def test_a_block_is_read_without_what_nobody_needs(tmp_path):
    np.savez(BLOCK.path(tmp_path), more=np.ones(9), **GOOD)
    found = ivom_blocks.read(BLOCK, tmp_path)
    assert found.keys() == GOOD.keys()
    np.testing.assert_array_equal(found["error"], GOOD["error"])
    assert ivom_blocks.seconds([BLOCK], tmp_path) == 2.5
    joined = ivom_blocks.join([BLOCK], tmp_path)
    np.testing.assert_array_equal(joined[3, "prior"]["z"], GOOD["z"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("error", GOOD["error"][:1]),
        ("error", None),
        ("error", GOOD["error"].astype(str)),
        ("z", np.ones((4, 3), np.float32)),
        ("curve", np.ones((4, 2), np.float32)),
        ("curve", np.ones(4, np.float32)),
        ("converged", np.ones((2, 2))),
        ("seconds", None),
        ("seconds", np.ones(1)),
        ("seconds", np.float64(np.nan)),
        ("seconds", np.float64(-1)),
        ("seconds", np.str_("2")),
    ],
)
def test_a_block_of_other_arrays_is_set_aside(tmp_path, name, value):
    path = BLOCK.path(tmp_path)
    arrays = {n: a for n, a in (GOOD | {name: value}).items() if a is not None}
    np.savez(path, **arrays)
    content = path.read_bytes()
    assert ivom_blocks.read(BLOCK, tmp_path) is None
    assert not path.exists()
    assert path.with_name(path.name + ".damaged").read_bytes() == content


def test_the_record_is_written_after_the_images(tmp_path, monkeypatch):
    config = resolve.resolve("gan", "digits", "dense", **tiny.DENSE)
    workdir, _ = tiny.trained(config, tmp_path / "run", seeds=1)
    options = ivom_experiment.Options(images=3, starts=1, iterations=1, block=3)

    def killed(path, record):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(ivom_experiment.records, "write", killed)
        with pytest.raises(SystemExit):
            ivom_experiment.measure(workdir, options, tmp_path / "ivom")
    output = tmp_path / "ivom"
    assert not (output / "results.json").exists()
    with np.load(output / "nearest.npz") as data:
        assert data["test"].shape == data["nearest"].shape == (3, 8, 8, 1)
        assert data["error"].shape == data["random"].shape == (1, 3)
        assert data["pca"].shape == data["mean_image"].shape == (3,)
    # What was measured is kept, but for a block that was cut.
    (block,) = (output / "blocks").iterdir()
    with np.load(block) as data:
        cut = dict(data) | {"error": data["error"][:1]}
    np.savez(block, **cut)
    record, found = ivom_experiment.measure(workdir, options, output)
    assert found["error"].shape == (1, 3)
    assert block.with_name(block.name + ".damaged").exists()
    assert record["per_seed"][0]["ivom"] > 0
