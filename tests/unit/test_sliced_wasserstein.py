"""The sliced Wasserstein distance against SciPy's assignment and closed forms."""

import jax
import numpy as np
import pytest
import scipy.optimize
import scipy.spatial

from veegan_jax.data import mixtures
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.metrics import sliced_wasserstein


def test_on_a_line_it_is_the_best_assignment(generator):
    """In one dimension every direction is the line itself."""
    x_NX, y_NX = generator.normal(size=(2, 40, 1)).astype(np.float32)
    cost_NN = scipy.spatial.distance.cdist(x_NX, y_NX, "sqeuclidean")
    pairs = scipy.optimize.linear_sum_assignment(cost_NN)
    expected = np.sqrt(cost_NN[pairs].mean())
    found = sliced_wasserstein.distance(x_NX, y_NX)
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_shift_costs_its_length_over_the_root_of_the_dimensions(generator):
    x_NX = generator.normal(size=(50, 30)).astype(np.float32)
    shift_X = generator.normal(size=30).astype(np.float32)
    found = sliced_wasserstein.distance(x_NX, x_NX + shift_X, projections=4000)
    # The mean square of a direction's part of the shift; its standard error is 2 %.
    assert found == pytest.approx(np.linalg.norm(shift_X) / np.sqrt(30), rel=0.05)
    assert sliced_wasserstein.distance(x_NX, x_NX[::-1]) < 1e-6  # in any order


def test_a_dropped_mode_is_seen_above_the_floor():
    ring = mixtures.get("ring")
    x_NX = mixtures.sample(ring, jax.random.key(1), 2000)
    floor = mixture_metrics.distance(x_NX, ring)
    kept_NX = x_NX[x_NX[:, 0] < 0.9]  # all but the mode at (1, 0)
    again = mixture_metrics.distance(kept_NX[:1500], ring)
    assert again > 1.5 * floor


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="two equal shapes"):
        sliced_wasserstein.distance(np.zeros((3, 2)), np.zeros((4, 2)))
