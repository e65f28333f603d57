"""Splits, classifiers, sample quality and statistics of the amplification."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from lgan_jax import classifier, sample_quality, splits, statistics
from veegan_jax.common import errors


def test_a_split_is_stratified_nested_and_fixed_by_its_seed(generator):
    label = generator.permutation(np.repeat(np.arange(3), (40, 20, 9)))
    tenth, half = (splits.stratified(label, share, 7) for share in (0.1, 0.5))
    np.testing.assert_array_equal(tenth.count_K, [4, 2, 1])
    np.testing.assert_array_equal(half.count_K, [20, 10, 4])
    for k in range(3):
        rows = half.rows_KN[k, : half.count_K[k]]
        assert len(set(rows.tolist())) == half.count_K[k]
        assert (label[half.rows_KN[k]] == k).all()  # padding, too
        assert set(tenth.rows_KN[k]) <= set(rows)
    again = splits.stratified(label, 0.1, 7).all_rows()
    np.testing.assert_array_equal(tenth.all_rows(), again)
    assert (splits.stratified(label, 0.1, 8).all_rows() != again).any()
    assert sorted(splits.stratified(label, 1.0, 0).all_rows()) == list(range(69))


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(errors.InputError, match="share"):
        splits.stratified(np.array([0, 1]), share, 0)


def test_paired_intervals_are_scipys(generator):
    control = generator.normal(94, 1, size=10)
    treated = control + generator.normal(0.2, 0.3, size=10)
    found = statistics.paired(treated, control)
    theirs = stats.ttest_rel(treated, control).confidence_interval(0.95)
    np.testing.assert_allclose(found[1:], theirs)
    assert found.mean == pytest.approx((treated - control).mean())
    assert np.isnan(statistics.paired([1.0], [2.0]).low)
    with pytest.raises(ValueError, match="cannot be paired"):
        statistics.paired([1.0, 2.0], [1.0])


SHAPE = 3, 4, 1
RECIPE = classifier.Recipe(
    SHAPE, 3, hidden=8, steps=200, batch_size=16, learning_rate=0.01, eval_points=2
)


@pytest.fixture
def data(generator):
    """Three classes of bright rows, half of them known; junk as generated images."""

    def draw(num):
        label = generator.integers(0, 3, num).astype(np.int32)
        image = generator.integers(0, 120, (num, 3, 4))
        image[np.arange(num), label] += 130
        return image.reshape(num, 12).astype(np.uint8), label

    real, test = draw(90), draw(60)
    known = splits.stratified(real[1], 0.5, 0).all_rows()
    junk = np.zeros((15, 12), np.uint8), np.repeat(np.arange(3, dtype=np.int32), 5)
    return classifier.Data(*real, known, *junk, *test)


def keys(num):
    return jax.random.split(jax.random.key(1), num)


def test_classifiers_learn_and_a_share_of_0_reads_nothing_generated(data):
    share = [0.0, 0.0, 0.5, 1.0]
    same = keys(2)[np.array([0, 1, 0, 0])]
    found = classifier.train_all(same, share, data, RECIPE)
    assert found.shape == (4, RECIPE.eval_points)
    assert (found[:2, -1] > 95).all()
    assert (found[3] < 60).all()  # nothing but junk
    other = data._replace(generated_NX=data.generated_NX + 77)
    again = classifier.train_all(same, share, other, RECIPE)
    np.testing.assert_allclose(again[:2], found[:2])


def test_a_share_of_1_reads_nothing_real(data):
    blank = data._replace(
        image_MX=np.zeros_like(data.image_MX),
        generated_NX=data.image_MX,
        generated_label_N=data.label_M,
    )
    assert classifier.train_all(keys(1), [1.0], blank, RECIPE)[0, -1] > 95


@pytest.mark.slow
def test_convolutions_learn_too(data):
    recipe = dataclasses.replace(RECIPE, layers=((4, 3, 1), (4, 3, 2)))
    assert classifier.train_all(keys(1), [0.0], data, recipe)[0, -1] > 95


def test_accuracy_counts_what_is_right(data):
    params = classifier.Network(RECIPE).init(jax.random.key(3), data.image_MX[:1])
    logits = classifier.Network(RECIPE).apply(params, data.test_TX)
    right = np.mean(np.argmax(logits, axis=1) == data.test_label_T)
    found = classifier.accuracy(params, data.test_TX, data.test_label_T, RECIPE)
    assert float(found) == pytest.approx(100 * right)


def test_to_tune_on_a_part_of_the_tenth_never_touches_the_rest(generator):
    label = generator.permutation(np.repeat(np.arange(2), (400, 800)))
    tenth = set(splits.stratified(label, 0.1, 5).all_rows().tolist())
    for share, known in ((0.1, 90), (0.01, 12)):
        split, rows = splits.inside(label, share, 0.1, 5)
        ours = set(split.all_rows().tolist())
        assert len(ours) == known
        assert ours | set(rows.tolist()) == tenth
        assert not ours & set(rows.tolist())


def test_nearest_is_scipys(generator):
    real, ours = generator.random((30, 7)), generator.random((11, 7))
    ours[4] = real[2]
    found = sample_quality.nearest(np.float32(ours), np.float32(real))
    expected = distance.cdist(ours, real).min(axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found[4] < 1e-3


def test_vendi_counts_what_differs(generator):
    points = np.repeat(1000.0 * np.eye(4), 5, axis=0)
    assert sample_quality.vendi(points, 1.0) == pytest.approx(4)
    assert sample_quality.vendi(np.zeros((6, 3)), 1.0) == pytest.approx(1)
    far = generator.normal(size=(9, 4)) * 1e4
    assert sample_quality.vendi(far, 1.0) == pytest.approx(9)


def test_coverage_counts_neighbourhoods_that_are_reached(generator):
    real = generator.normal(size=(40, 3))
    assert sample_quality.coverage(real, real) == 100
    assert sample_quality.coverage(real + 1e3, real) == 0
    some = sample_quality.coverage(real[:1], real, neighbours=2)
    radius = [np.sort(np.linalg.norm(real - p, axis=1))[2] for p in real]
    near = np.linalg.norm(real - real[0], axis=1) <= radius
    assert some == pytest.approx(100 * near.mean())
