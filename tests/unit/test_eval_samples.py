"""eval_samples.py: samples near no mode, and what the help says of the modes."""

import pathlib

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from support import programs

from veegan_jax.data import mixtures
from veegan_jax.presets import mixtures as mixture_presets

PAGE = pathlib.Path(__file__).parents[2] / "results" / "mixtures.md"


@pytest.fixture(scope="module")
def script():
    yield from programs.as_module("eval_samples")


@pytest.mark.parametrize("scale", (2, 1))
def test_the_range_is_shown_where_no_mode_is_near(script, tmp_path, capsys, scale):
    x_NX = scale * np.asarray(mixtures.sample(mixtures.ring(), jax.random.key(1), 60))
    np.save(tmp_path / "x.npy", x_NX)
    script.main(str(tmp_path / "x.npy"))
    printed = capsys.readouterr().out
    about = (
        "Few samples are near a mean (ring: 8 means on the circle of radius 1, sigma"
    )
    assert (about in printed) == (scale == 2)
    for name, x_N in zip(("x1", "x2"), x_NX.T, strict=True):
        row = f"| {name}     | {x_N.min():.4g} to {x_N.max():.4g}"
        assert (row in printed) == (scale == 2)
    assert ("spread: empty if" in printed) == (scale == 2) and "nan" not in printed


def test_the_share_from_which_a_mode_is_filled_is_a_flag(script, tmp_path, capsys):
    """The modes of a ring have 2, 4, ... 16 % of their share of 8,000 good samples."""
    means_KX = mixtures.ring().means_KX
    number_K = [20, 40, 60, 80, 100, 120, 140, 160]
    x_NX = np.concatenate([np.repeat(means_KX, number_K, axis=0), np.zeros((7280, 2))])
    np.save(tmp_path / "x.npy", x_NX)
    for share, filled in ((0.25, 0), (0.125, 2), (0.05, 6), (1e-3, 8)):
        with flagsaver.flagsaver(filled=share):
            script.main(str(tmp_path / "x.npy"))
        printed = capsys.readouterr().out
        meaning = f"modes with {100 * share:g} % of their share of good samples"
        (row,) = [line for line in printed.splitlines() if meaning in line]
        assert row.split("|")[2].strip() == str(filled)


def test_the_range_of_1200_dimensions_takes_two_rows(script):
    x_NX = np.zeros((2, 1200), np.float32)
    x_NX[:, 700:] = [[-3], [4]]
    *_, noisy, rest = script.ranges(x_NX, mixtures.high_dim(), "mine").splitlines()
    assert noisy.startswith("| x1 to x700    | 0 to 0  | -1")
    assert rest == "| x701 to x1200 | -3 to 4 | -13 to 10       |"


def test_what_the_help_says_is_what_the_mixtures_are():
    ring, grid, high_dim = map(mixtures.get, mixture_presets.DATASETS)
    assert (
        mixtures.describe(ring) == "ring: 8 means on the circle of radius 1, sigma 0.01"
    )
    np.testing.assert_allclose(np.linalg.norm(ring.means, axis=1), 1)
    for mixture, values in ((grid, grid.means_KX[:, 1]), (high_dim, high_dim.means_KX)):
        listed = ", ".join(f"{v:g}" for v in np.unique(values))
        assert f"of {listed}, sigma {mixture.sigma:g}" in mixtures.describe(mixture)
    page = " ".join(PAGE.read_text().split())
    for name in mixture_presets.DATASETS:
        text = mixtures.describe(mixtures.get(name))
        assert text in mixture_presets.DESCRIPTION and f"- {text}" in page
