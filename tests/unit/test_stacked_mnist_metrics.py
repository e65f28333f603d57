"""The Stacked MNIST figures against loops, SciPy, closed forms and simulations.

Dimension key: N samples, H height, W width, C channels, K digit classes, F features, T
tuples.
"""

import collections
import math
import pathlib

import jax
import numpy as np
import PIL.Image
import pytest
from scipy import stats

from veegan_jax.classifier import network as classifiers
from veegan_jax.common import errors, plots
from veegan_jax.data import images, pixels, stacked_files
from veegan_jax.metrics import published, stacked_mnist_sampling
from veegan_jax.metrics import stacked_mnist as stacked_mnist_metrics

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
KEPT = "runs/classifier/digits-seed0.npz"
# Images of each class in MNIST's training set.
MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
UNIFORM = np.full(1000, 1 / 1000)


@pytest.fixture(scope="module")
def classifier():
    """Untrained: its labels are arbitrary, and the figures must not care."""
    recipe = classifiers.Recipe(((8, 3, 2), (8, 3, 2)), 16, 1, 4, 1e-3, 0.0, 0, 0.5)
    params = jax.tree.map(np.asarray, classifiers.init(3, "digits", recipe))
    return classifiers.Classifier(params, "digits", "nothing", 3, recipe)


@pytest.fixture(scope="module")
def reference(classifier):
    return stacked_mnist_metrics.reference(classifier)


def random_outputs(generator, num, reference, channels=3):
    """Logits and features like a classifier's; some tuples come often."""
    logits_NCK = generator.normal(size=(num, channels, 10)) * 4
    logits_NCK[: num // 2, :, 3] += 6
    shape = num, channels, len(reference.mean_F)
    return np.float32(logits_NCK), np.float32(generator.exponential(size=shape))


def slow_reference(logits_NCK, feature_NCF, reference):
    """Every figure in float64, from its description."""
    counts, sure = collections.Counter(), collections.Counter()
    for logits_CK in np.float64(logits_NCK):
        digits = [max(range(10), key=lambda k: row[k]) for row in logits_CK]
        shares = [1 / sum(np.exp(row - max(row))) for row in logits_CK]
        number = int("".join(map(str, digits)))
        counts[number] += 1
        sure[number] += all(p > 0.9 for p in shares)
    num, channels = feature_NCF.shape[:2]
    total = 10**channels
    histogram = [counts[t] / num for t in range(total)]
    share = np.float64(reference.share_K)
    product = [
        math.prod(share[int(d)] for d in f"{t:0{channels}}") for t in range(total)
    ]
    # The Vendi score by its definition: the N x N matrix of similarities.
    kernel_NN = np.zeros((num, num))
    for c in range(channels):
        centred = np.float64(feature_NCF[:, c]) - reference.mean_F
        white = [reference.whiten_FF.T.astype(float) @ f for f in centred]
        unit = [w / math.sqrt(w @ w) for w in white]
        kernel_NN += [[u @ v / channels for v in unit] for u in unit]
    values = np.linalg.eigvalsh(kernel_NN / num)
    return {
        "modes": sum(count > 0 for count in counts.values()),
        "kl_uniform": stats.entropy(histogram, np.full(total, 1 / total)),
        "kl_data": stats.entropy(histogram, product),
        "confident": 100 * sum(sure.values()) / num,
        "confident_modes": sum(count > 0 for count in sure.values()),
        "vendi": math.exp(-sum(v * math.log(v) for v in values if v > 0)),
        "mode_diversity": math.exp(stats.entropy(histogram)),
        "histogram": histogram,
    }


# Fewer and more samples than features; three digits and four.
@pytest.mark.parametrize(("num", "channels"), [(30, 3), (200, 3), (200, 4)])
def test_figures_equal_the_slow_reference(generator, reference, num, channels):
    outputs = random_outputs(generator, num, reference, channels)
    expected = slow_reference(*outputs, reference)
    metrics = jax.jit(stacked_mnist_metrics.evaluate)(*outputs, reference)
    assert (
        metrics.keys()
        == expected.keys()
        == {*stacked_mnist_metrics.METRICS, "histogram"} - {"class_vendi"}
    )
    assert 0 < expected["confident"] < 100
    assert 0 < expected["confident_modes"] < expected["modes"]
    for name, value in expected.items():
        np.testing.assert_allclose(
            metrics[name], value, rtol=2e-4, atol=1e-6, err_msg=name
        )


def test_figures_are_vmapped_over_seeds(generator, reference):
    runs = [random_outputs(generator, 40, reference) for _ in range(2)]
    evaluate = jax.jit(jax.vmap(stacked_mnist_metrics.evaluate, in_axes=(0, 0, None)))
    both = evaluate(*map(np.stack, zip(*runs, strict=True)), reference)
    for i, run in enumerate(runs):
        alone = jax.jit(stacked_mnist_metrics.evaluate)(*run, reference)
        for name, value in alone.items():
            np.testing.assert_allclose(both[name][i], value, rtol=1e-4, err_msg=name)


def test_whitening_makes_features_of_the_data_independent(classifier, reference):
    train = images.load("digits", "train")
    _, feature_NF = classifiers.predict(classifier, train.image)
    white_NF = (feature_NF - reference.mean_F) @ reference.whiten_FF
    value_F = np.linalg.eigvalsh(np.cov(feature_NF.T))
    expected = value_F / (value_F + 1e-3 * value_F.max())
    covariance_FF = np.cov(white_NF.T)
    np.testing.assert_allclose(covariance_FF, np.diag(expected), atol=2e-3)
    assert covariance_FF.max() > 0.99
    np.testing.assert_allclose(
        reference.share_K, [np.mean(train.label == k) for k in range(10)], rtol=1e-6
    )


def test_vendi_score_has_its_closed_forms():
    eye = np.eye(12, dtype=np.float32)
    assert stacked_mnist_metrics.vendi(eye) == pytest.approx(12, rel=1e-4)
    assert stacked_mnist_metrics.vendi(eye[:5]) == pytest.approx(5, rel=1e-4)
    assert stacked_mnist_metrics.vendi(np.repeat(eye[:5], 7, axis=0)) == pytest.approx(
        5, rel=1e-4
    )
    assert stacked_mnist_metrics.vendi(np.tile(eye[:1], (30, 1))) == pytest.approx(
        1, rel=1e-4
    )
    # Two kinds, 3 to 1: exp of their entropy.
    uneven = np.repeat(eye[:2], [30, 10], axis=0)
    expected = math.exp(stats.entropy([0.75, 0.25]))
    assert stacked_mnist_metrics.vendi(uneven) == pytest.approx(expected, rel=1e-4)
    # Two vectors at a cosine of c: eigenvalues (1 + c) / 2 and (1 - c) / 2.
    pair = np.float32([[1, 0, 0], [0.6, 0.8, 0]])
    expected = math.exp(stats.entropy([0.8, 0.2]))
    assert stacked_mnist_metrics.vendi(pair) == pytest.approx(expected, rel=1e-4)


def test_kl_of_a_triple_that_the_data_has_not_is_infinite():
    p, q = np.float32([0.5, 0.5, 0]), np.float32([0.5, 0, 0.5])
    assert stacked_mnist_metrics.kl(p, q) == np.inf
    assert stacked_mnist_metrics.kl(p, np.float32([0.25, 0.25, 0.5])) == pytest.approx(
        math.log(2)
    )


def test_expected_figures_are_those_of_a_simulation(generator):
    share_K = np.array(MNIST_COUNTS) / 60_000
    share_T = stacked_mnist_metrics.product(share_K)
    num, repeats = 3000, 400
    drawn = generator.multinomial(num, share_T, size=repeats)
    simulated = {
        "modes": (drawn > 0).sum(axis=1),
        "kl_uniform": stats.entropy(drawn.T, UNIFORM[:, None]),
        "kl_data": stats.entropy(drawn.T, share_T[:, None]),
    }
    expected = stacked_mnist_sampling.expected(share_T, num)
    assert expected.keys() == simulated.keys()
    for name, values in simulated.items():
        error = values.std() / math.sqrt(repeats)
        assert expected[name] == pytest.approx(values.mean(), abs=4 * error), name


def test_floors_of_26000_samples_are_the_known_ones():
    share_T = stacked_mnist_metrics.product(np.array(MNIST_COUNTS) / 60_000)
    uniform = stacked_mnist_sampling.expected(UNIFORM, 26_000)
    assert uniform["kl_uniform"] == pytest.approx(0.0194, abs=1e-4)
    assert uniform["kl_data"] == pytest.approx(uniform["kl_uniform"])
    true = stacked_mnist_sampling.expected(share_T, 26_000)
    assert true["kl_uniform"] == pytest.approx(0.0236, abs=1e-4)
    assert true["modes"] == pytest.approx(1000, abs=1e-3)
    # Wilks: 2 N KL is chi-square of T - 1 degrees of freedom.
    many = stacked_mnist_sampling.expected(share_T, 10**6)
    assert many["kl_data"] == pytest.approx(999 / 2e6, rel=1e-3)
    share_T = stacked_mnist_metrics.product(np.array(MNIST_COUNTS) / 60_000, 4)
    four = stacked_mnist_sampling.expected(share_T, 260_000)
    assert four["kl_data"] == pytest.approx(9999 / 520_000, rel=0.02)
    assert four["modes"] == pytest.approx(10_000, abs=1e-3)
    one = stacked_mnist_sampling.expected(UNIFORM, 1)
    assert one["kl_uniform"] == pytest.approx(math.log(1000))
    assert one["modes"] == pytest.approx(1)


def test_standard_errors_are_those_of_samples_drawn_again(generator):
    # A collapsed model: 150 modes of unequal shares, 15 of them rare.
    true_T = np.zeros(1000)
    true_T[:150] = generator.dirichlet(np.ones(150))
    true_T[:15] = 1e-4
    true_T /= true_T.sum()
    share_T = stacked_mnist_metrics.product(np.array(MNIST_COUNTS) / 60_000)
    num = 5000
    found = stacked_mnist_sampling.standard_errors(
        generator.multinomial(num, true_T), share_T
    )
    fresh = generator.multinomial(num, true_T, size=1000)
    expected = {
        "kl_uniform": stats.entropy(fresh.T, UNIFORM[:, None]).std(),
        "kl_data": stats.entropy(fresh.T, share_T[:, None]).std(),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=0.15), name

    # The bootstrap itself, by drawing samples instead of counts.
    count_T = fresh[0]
    sample_N = np.repeat(np.arange(1000), count_T)
    again = [np.unique(generator.choice(sample_N, size=num)).size for _ in range(400)]
    found = stacked_mnist_sampling.standard_errors(count_T, share_T)
    assert found["modes"] == pytest.approx(np.std(again), rel=0.15)
    assert found["modes"] > 0.5
    assert found == stacked_mnist_sampling.standard_errors(
        count_T, share_T
    )  # the same every time


@pytest.mark.parametrize("channels", [3, 4])
def test_the_oracle_scores_its_images(classifier, reference, channels):
    test = images.load("digits", "test")
    x_NHWC = stacked_mnist_metrics.oracle_images(test, 50, channels)
    index_NC = stacked_mnist_metrics.oracle_tuples(len(test.label), 50, channels)
    for x_HWC, index_C in zip(x_NHWC, index_NC, strict=True):
        for channel, index in enumerate(index_C):
            np.testing.assert_array_equal(
                x_HWC[:, :, channel], test.image[index, :, :, 0]
            )
    truth = stacked_mnist_metrics.truth(classifier, 50, channels=channels)
    true = stacked_mnist_metrics.oracle(classifier, 50, reference, channels=channels)
    assert truth.oracle["modes"] == true["modes"]
    assert truth.share_T.shape == true["histogram"].shape == (10**channels,)
    for x in (x_NHWC, np.float32(x_NHWC / 127.5 - 1)):
        metrics = stacked_mnist_metrics.score(x, classifier, reference)
        for name, value in metrics.items():
            np.testing.assert_allclose(true[name], value, rtol=1e-4, err_msg=name)
    # Red is the first digit.
    label_N = classifiers.classify(classifier, test.image)
    number_N = [int("".join(str(label_N[i]) for i in index_C)) for index_C in index_NC]
    expected = np.bincount(number_N, minlength=10**channels) / 50
    np.testing.assert_allclose(true["histogram"], expected, rtol=1e-6)


def test_single_digits_are_not_scored(classifier, reference):
    with pytest.raises(ValueError, match="digits needs"):
        stacked_mnist_metrics.score(
            np.zeros((5, 8, 8, 1), np.uint8), classifier, reference
        )


def test_the_published_tables_are_whole():
    for row in published.STACKED_MNIST:
        most = {"stacked_mnist": 1000, "stacked_mnist4": 10_000}[row.dataset]
        modes, kl = (row.metrics[name] for name in ("modes", "kl_uniform"))
        # As few modes cannot have a smaller KL to the uniform than this.
        assert 0 < modes <= most and kl >= math.log(most / modes) - 0.005
        assert row.source in published.PROTOCOLS
    halves, quarters = (
        {
            row.label: row.metrics["modes"]
            for row in published.STACKED_MNIST
            if row.source == f"PacGAN paper, K = {k}"
        }
        for k in ("1/2", "1/4")
    )
    assert halves.keys() == quarters.keys()
    assert all(halves[m] > quarters[m] for m in halves)


BAD_FILES = {
    "channels first": (np.zeros((4, 3, 8, 8), np.uint8), r"transpose\(0, 2, 3, 1\)"),
    "one channel": (np.zeros((4, 8, 8, 1), np.uint8), "single digits"),
    "no channel": (np.zeros((4, 8, 8), np.uint8), "single digits"),
    "five channels": (np.zeros((4, 8, 8, 5), np.uint8), "stacked images have shape"),
    "none": (np.zeros((0, 8, 8, 3), np.uint8), "stacked images have shape"),
    "two of them": (np.ones((2, 8, 8, 3), np.uint8), "at most 1: white must be 255"),
    "integers": (np.zeros((2, 8, 8, 3), int), "int64; give uint8"),
    "objects": (np.full((2, 8, 8, 3), None), "it holds Python objects, which may"),
    "unstated": (np.full((2, 8, 8, 3), 0.5), "state --range=0,1 or --range=-1,1"),
    "too bright": (np.full((2, 8, 8, 3), [-1, 0, 255.0]), "outside --range=-1,1"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_by_name(tmp_path, name):
    data, words = BAD_FILES[name]
    path = tmp_path / f"{name}.npy"
    np.save(path, data)
    with pytest.raises(errors.InputError, match=words) as caught:
        stacked_files.read(path)
    assert str(path) in str(caught.value)


def test_files_with_something_missing_are_refused(tmp_path, generator):
    x = generator.uniform(-1, 1, size=(5, 8, 8, 3))
    x[1, 0, 0, 0] = x[1, 1, 1, 1] = np.nan
    x[3, 0, 0, 2] = np.inf
    np.save(tmp_path / "nan.npy", x)
    with pytest.raises(errors.InputError, match="2 of 5 samples are not finite"):
        stacked_files.read(tmp_path / "nan.npy")
    np.savez(tmp_path / "two.npz", a=x, b=x)
    held = r"holds 2 arrays: a .*choose one by --key"
    with pytest.raises(errors.InputError, match=held):
        stacked_files.read(tmp_path / "two.npz")
    with pytest.raises(errors.InputError, match="No such file"):
        stacked_files.read(tmp_path / "no.npy")
    whole = (tmp_path / "two.npz").read_bytes()
    for name, content in {"cut.npz": whole[:-50], "text.npy": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(errors.InputError, match=rf"{name} is not one"):
            stacked_files.read(tmp_path / name)


def test_every_range_gives_the_same_images(tmp_path, generator):
    x = generator.integers(256, size=(6, 8, 8, 3), dtype=np.uint8)
    path = tmp_path / "x.npy"
    for data, value_range in (
        (x, None),
        (np.float32(x / 255), "0,1"),
        (np.float64(x / 127.5 - 1), None),
        (np.float32(x / 127.5 - 1), "-1,1"),
    ):
        np.save(path, data)
        read = stacked_files.read(path, value_range)
        np.testing.assert_array_equal(pixels.to_uint8(read), x)
    np.save(path, x)
    with pytest.raises(errors.InputError, match="--range is for floats"):
        stacked_files.read(path, "0,1")


def test_the_size_names_the_data_set():
    assert stacked_files.dataset_of((5, 8, 8, 3)) == "digits"
    assert stacked_files.dataset_of((5, 28, 28, 3), "mnist") == "mnist"
    with pytest.raises(errors.InputError, match=r"8 x 8 pixels.*28 x 28 \(mnist\) can"):
        stacked_files.dataset_of((5, 8, 8, 3), "mnist")
    with pytest.raises(errors.InputError, match=r"64 x 64 pixels.* padded digits"):
        stacked_files.dataset_of((5, 64, 64, 3))
    with pytest.raises(errors.InputError, match="--dataset=cifar10 must be one of"):
        stacked_files.dataset_of((5, 8, 8, 3), "cifar10")


def test_the_padding_of_digits_is_cut_off_and_said(generator):
    x = generator.integers(256, size=(6, 28, 28, 3), dtype=np.uint8)
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    kept, said = stacked_files.cropped(padded)
    np.testing.assert_array_equal(kept, x)
    assert "without their outer 2 pixels" in said and "have 0 % of white" in said
    as_float = 2 * (padded / np.float32(255)) - 1
    as_float[:, 0] = as_float[:, -1] = 1  # two of the eight white lines of the padding
    kept, said = stacked_files.cropped(as_float)
    np.testing.assert_array_equal(np.asarray(pixels.to_uint8(kept)), x)
    assert f"have {100 * 64 / 240:.2g} % of white" in said
    same, said = stacked_files.cropped(x)
    assert same is x and not said


def test_image_grid_is_crisp(tmp_path, generator):
    x = generator.integers(256, size=(20, 8, 8, 3), dtype=np.uint8)
    plots.image_grid({"a": x, "b": x[:3]}, tmp_path / "grid.png")
    drawn = np.asarray(PIL.Image.open(tmp_path / "grid.png").convert("RGB"))
    scale = 7  # screen pixels for one of 8 x 8
    block = np.repeat(np.repeat(x[0], scale, axis=0), scale, axis=1)
    places = np.argwhere((drawn == block[0, 0]).all(axis=-1))
    size = 8 * scale
    found = [
        (i, j)
        for i, j in places.tolist()
        if drawn[i : i + size, j : j + size].shape == block.shape
        and (drawn[i : i + size, j : j + size] == block).all()
    ]
    assert len(found) == 2  # one in each row, below each other
    assert found[0][1] == found[1][1]


def test_the_class_vendi_score_is_that_of_the_whole_kernel(generator):
    """The kernel by its definition, N x N, from probabilities of every tuple."""
    logits_NCK = 3 * generator.normal(size=(40, 3, 10)).astype(np.float32)
    odds_NCK = np.exp(logits_NCK.astype(np.float64))
    share_NCK = odds_NCK / odds_NCK.sum(axis=-1, keepdims=True)
    tuples_NT = np.stack(
        [np.kron(np.kron(a, b), c) for a, b, c in share_NCK]  # p(t | x)
    )
    kernel_NN = np.array([[np.sqrt(p * q).sum() for p in tuples_NT] for q in tuples_NT])
    np.testing.assert_allclose(np.diag(kernel_NN), 1)
    value = np.linalg.eigvalsh(kernel_NN / len(kernel_NN))
    value = value[value > 1e-12]
    expected = math.exp(-(value * np.log(value)).sum())
    found = stacked_mnist_metrics.class_vendi(logits_NCK)
    assert found == pytest.approx(expected, rel=1e-4)


def test_sure_digits_have_the_class_vendi_score_of_their_entropy():
    """Of 30 samples, 10 each of three tuples: three; the mode diversity is the same."""
    label_NC = np.repeat([[1, 2, 3], [1, 2, 4], [9, 9, 9]], 10, axis=0)
    logits_NCK = 1000.0 * np.eye(10)[label_NC]
    assert stacked_mnist_metrics.class_vendi(logits_NCK) == pytest.approx(3)
    assert np.isnan(stacked_mnist_metrics.class_vendi(np.zeros((3, 4, 10))))
