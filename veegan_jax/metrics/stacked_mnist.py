"""Stacked MNIST: how many tuples of digits a generator makes, and how evenly.

Three digits, or four, are the channels of one image; a classifier labels each. So there
are 1,000 modes, or 10,000.

Dimension key: N samples, H height, W width, C channels, K digit classes (10), F
features of a channel, T tuples (K^C).
"""

from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax.classifier import network as classifiers
from veegan_jax.common import records
from veegan_jax.data import images, pixels, stacked_mnist
from veegan_jax.metrics import stacked_mnist_sampling
from veegan_jax.runtime import numerics

CONFIDENCE = 0.9
_BLOCK = 2000  # samples whose tuples are held at a time

# The metrics of `evaluate`, in the order of the tables. `kl_uniform` is the one to
# compare: public code assumes uniform data, although by MNIST's class shares a perfect
# model has .004 nats. The classifier is also confident of images that are no digits (91
# % of uniform noise, all in one class), so `confident` detects blends of digits, not
# every failure. `vendi` is at most C F (384 of three) and sees more than tuples: one of
# one image per digit has all modes and the lowest KLs, but scores 26 instead of 230.
METRICS = {
    "modes": "tuples of digits made at least once, of 1,000 (four digits: 10,000)",
    "kl_uniform": "KL(generated || uniform) over tuples, nats: the published metric",
    "kl_data": "KL(generated || product of the training set's class shares), nats",
    "confident": f"% of samples with all digits of probability > {CONFIDENCE:g}",
    "confident_modes": "tuples made at least once by a confident sample",
    "vendi": "effective number of independent features, styles included",
    "mode_diversity": "exp(entropy over tuples): an effective number of them",
    "class_vendi": "the same by the Vendi paper's kernel (of three digits)",
}


Array = TypeVar("Array", jax.Array, np.ndarray)


class Reference(NamedTuple):
    """The training set's statistics that the metrics need; arrays only."""

    share_K: np.ndarray  # class shares, which sum to 1
    mean_F: np.ndarray  # of the classifier's features
    whiten_FF: np.ndarray  # centred features times this have the covariance 1


class Truth(NamedTuple):
    """The references for a number of samples."""

    classifier: classifiers.Classifier
    reference: Reference
    share_T: np.ndarray  # of the tuples, float64
    oracle: dict[str, np.ndarray]  # the metrics of real test digits
    expected: dict[str, float]  # the mean metrics of perfect samples, never misread


def reference(
    classifier: classifiers.Classifier, data_dir: str | None = None
) -> Reference:
    """Measure the training set: its class shares, and features of 10,000 images.

    Args:
      classifier: gives the features.
      data_dir: tensorflow-datasets' folder; see `images.load`.
    """
    train = images.load(classifier.dataset, "train", data_dir=data_dir)
    share_K = np.bincount(train.label, minlength=classifiers.NUM_CLASSES)
    _, feature_NF = classifiers.predict(classifier, train.image[:10_000])
    feature_NF = feature_NF.astype(np.float64)
    value_F, vector_FF = np.linalg.eigh(np.cov(feature_NF.T))
    # With the ridge, units that are never active do not count as features.
    whiten_FF = vector_FF / np.sqrt(value_F + 1e-3 * value_F.max())
    arrays = share_K / len(train.label), feature_NF.mean(axis=0), whiten_FF
    return Reference(*(a.astype(np.float32) for a in arrays))


@numerics.standard
def evaluate(
    logits_NCK: jax.Array, feature_NCF: jax.Array, reference: Reference
) -> dict[str, jax.Array]:
    """Compute the metrics from the classifier's outputs. Pure: jit and vmap it.

    Args:
      logits_NCK: of each channel's digit, float [N, C, K].
      feature_NCF: of each channel's digit, float [N, C, F].
      reference: of the data and the classifier.

    Returns:
      Scalars by the names of `METRICS` but the last, and `histogram` [T], the share of
      samples of each tuple, in the order of its digits as a decimal number.

    Source: VEEGAN section 4.2; PacGAN section 4.2 (classifier and KL).
    """
    channels = logits_NCK.shape[1]
    number_N = numbers(jnp.argmax(logits_NCK, axis=-1))
    probability_NC = jnp.max(jax.nn.softmax(logits_NCK), axis=-1)
    confident_N = jnp.all(probability_NC > CONFIDENCE, axis=-1)
    ones_N = jnp.ones(len(number_N))
    histogram_T = _count(number_N, ones_N, channels) / len(number_N)
    sure_T = _count(number_N, confident_N.astype(jnp.float32), channels)
    num_tuples = stacked_mnist_sampling.num_tuples(channels)
    return {
        "modes": jnp.sum(histogram_T > 0),
        "kl_uniform": kl(histogram_T, jnp.full(num_tuples, 1 / num_tuples)),
        "kl_data": kl(histogram_T, product(reference.share_K, channels)),
        "confident": 100 * jnp.mean(confident_N),
        "confident_modes": jnp.sum(sure_T > 0),
        "vendi": vendi(directions(feature_NCF, reference)),
        "mode_diversity": jnp.exp(jnp.sum(jax.scipy.special.entr(histogram_T))),
        "histogram": histogram_T,
    }


def numbers(label_NC: jax.Array) -> jax.Array:
    """Read the labels of the channels as the digits of a decimal number."""
    number_N = jnp.zeros(len(label_NC), label_NC.dtype)
    for channel in range(label_NC.shape[1]):
        number_N = 10 * number_N + label_NC[:, channel]
    return number_N


def _count(number_N: jax.Array, weight_N: jax.Array, channels: int) -> jax.Array:
    num_tuples = stacked_mnist_sampling.num_tuples(channels)
    return jax.ops.segment_sum(weight_N, number_N, num_segments=num_tuples)


def product(share_K: Array, channels: int = 3) -> Array:
    """Return the shares [T] of tuples of independent digits with shares [K]."""
    share_T = share_K
    for _ in range(channels - 1):
        share_T = (share_T.reshape(-1, 1) * share_K.reshape(1, -1)).reshape(-1)
    return share_T


@numerics.undefined_allowed
def kl(p_T: jax.Array, q_T: jax.Array | np.ndarray) -> jax.Array:
    """Compute KL(p || q) in nats; infinite if q is 0 where p is not."""
    log_ratio_T = jnp.log(jnp.where(p_T > 0, p_T, 1)) - jnp.log(q_T)
    found = jnp.sum(jnp.where(p_T > 0, p_T * log_ratio_T, 0))
    return jnp.maximum(found, 0)  # rounding may give -6e-8


@numerics.exact
def directions(feature_NCF: jax.Array, reference: Reference) -> jax.Array:
    """Return vectors [N, C F] whose dot product is a mean cosine.

    It is the cosine of whitened features, averaged over channels. Without whitening,
    the ten classes outweigh all differences inside a class, and averages of two digits
    score more than digits.
    """
    centred_NCF = feature_NCF - reference.mean_F.reshape(1, 1, -1)
    white_NCF = centred_NCF @ reference.whiten_FF
    norm_NC1 = jnp.linalg.norm(white_NCF, axis=-1, keepdims=True)
    unit_NCF = white_NCF / jnp.maximum(norm_NC1, 1e-12)
    return unit_NCF.reshape(len(unit_NCF), -1) / np.sqrt(feature_NCF.shape[1])


@numerics.exact
def vendi(x_NF: jax.Array) -> jax.Array:
    """Compute the Vendi score of unit vectors, an effective number of vectors.

    It is exp(entropy of the eigenvalues of x x' / N), from 1 (all alike) to min(N, F)
    (all orthogonal).

    Args:
      x_NF: vectors of length 1; a zero vector counts for nothing.

    Returns:
      The score, a scalar.

    Source: Friedman and Dieng 2023, The Vendi Score, definition 3.1.
    """
    # x x' and x' x have the same eigenvalues apart from zeros; take the smaller one.
    gram = x_NF @ x_NF.T if x_NF.shape[0] < x_NF.shape[1] else x_NF.T @ x_NF
    value = jnp.maximum(jnp.linalg.eigvalsh(gram), 0)
    value = value / jnp.sum(value)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(value, value)))


def class_vendi(logits_NCK: np.ndarray) -> float:
    """Compute the Vendi score of the tuples that a classifier sees in the samples.

    The kernel of two samples is sum_t sqrt(p(t | x) p(t | x')) over tuples t: 1 for
    samples that are read alike, 0 for others.

    Args:
      logits_NCK: of each channel's digit, float [N, C, K].

    Returns:
      From 1 to the number of tuples; NaN unless C is 3, as 10,000 tuples take hours.

    Source: Friedman and Dieng 2023, section 5, with the product kernel of Jebara et
    al. 2004.
    """
    num, channels, _ = logits_NCK.shape
    if channels != 3:
        return float("nan")
    odds_NCK = np.exp(logits_NCK - logits_NCK.max(axis=-1, keepdims=True))
    root_NCK = np.sqrt(odds_NCK / odds_NCK.sum(axis=-1, keepdims=True))
    gram_TT = 0.0
    for start in range(0, num, _BLOCK):
        a_NK, b_NK, c_NK = np.moveaxis(root_NCK[start : start + _BLOCK], 1, 0)
        pairs = a_NK[:, :, None, None] * b_NK[:, None, :, None]
        root_NT = (pairs * c_NK[:, None, None, :]).reshape(len(a_NK), -1)
        gram_TT = gram_TT + (root_NT.T @ root_NT).astype(np.float64)
    value = np.linalg.eigvalsh(gram_TT / num)
    value = value[value > 1e-12]
    return float(np.exp(-(value * np.log(value)).sum()))


@numerics.standard
def predict(
    classifier: classifiers.Classifier, x_NHWC: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Compute logits [N, C, K] and features [N, C, F] of stacked images.

    Args:
      classifier: of the images' data set.
      x_NHWC: uint8 in 0 to 255, or floats in [-1, 1].

    Raises:
      ValueError: unless the images have several channels of the classifier's size.
    """
    height, width, _ = images.SHAPES[classifier.dataset]
    channels = x_NHWC.shape[-1]
    if x_NHWC.shape[1:-1] != (height, width) or channels not in stacked_mnist.CHANNELS:
        raise ValueError(
            f"stacked images have shape {x_NHWC.shape}; {classifier.dataset} needs "
            f"[number of samples, {height}, {width}, 3 or 4]"
        )
    x_NCHW = np.moveaxis(np.asarray(pixels.to_uint8(x_NHWC)), 3, 1)
    digits = x_NCHW.reshape(-1, height, width, 1)  # neighbours are one sample
    outputs = classifiers.predict(classifier, digits)
    logits_NCK, feature_NCF = (a.reshape(-1, channels, a.shape[-1]) for a in outputs)
    return logits_NCK, feature_NCF


_evaluate = jax.jit(evaluate)


@numerics.undefined_allowed
@numerics.standard
def score(
    x_NHWC: Any, classifier: classifiers.Classifier, reference: Reference
) -> dict[str, np.ndarray]:
    """Compute the metrics of stacked images.

    Args:
      x_NHWC: the images, uint8, or floats in [-1, 1].
      classifier: of the images' data set; see `classifier_files.ready`.
      reference: of the same classifier.

    Returns:
      Scalars by the names of `METRICS`, and `histogram` [T].
    """
    outputs = predict(classifier, x_NHWC)
    return jax.tree.map(np.asarray, _evaluate(*outputs, reference))


def judge(
    logits_NCK: np.ndarray, feature_NCF: np.ndarray, reference: Reference
) -> dict[str, Any]:
    """Compute every metric of `METRICS`, also what takes longer, of `predict`'s."""
    metrics = jax.tree.map(np.asarray, _evaluate(logits_NCK, feature_NCF, reference))
    return metrics | {"class_vendi": class_vendi(logits_NCK)}


@numerics.undefined_allowed
def compile_score(
    num_samples: int,
    classifier: classifiers.Classifier,
    reference: Reference,
    channels: int = 3,
) -> None:
    """Compile what `score` runs for this many images; `truth` compiles the rest."""
    sizes = classifiers.NUM_CLASSES, classifier.recipe.features
    shapes = [(num_samples, channels, n) for n in sizes]
    outputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    _evaluate.lower(*outputs, reference).compile()


def oracle_tuples(num_images: int, num_samples: int, channels: int = 3) -> np.ndarray:
    """Return the test images of each true sample: int [N, C], always the same."""
    return np.random.default_rng(0).integers(num_images, size=(num_samples, channels))


def oracle_images(
    test: images.Images, num_samples: int, channels: int = 3
) -> np.ndarray:
    """Return the first stacked images of the oracle: uint8 [N, H, W, C]."""
    index_NC = oracle_tuples(len(test.label), num_samples, channels)
    return np.moveaxis(test.image[index_NC, :, :, 0], 1, 3)


def oracle(
    classifier: classifiers.Classifier,
    num_samples: int,
    reference: Reference,
    data_dir: str | None = None,
    channels: int = 3,
) -> dict[str, np.ndarray]:
    """Compute the metrics of tuples of real test digits, as of a perfect model.

    Args:
      classifier: of the data set.
      num_samples: how many tuples.
      reference: of the same classifier.
      data_dir: tensorflow-datasets' folder; see `images.load`.
      channels: digits of a tuple.

    Returns:
      As `judge`.
    """
    test = images.load(classifier.dataset, "test", data_dir=data_dir)
    index_NC = oracle_tuples(len(test.label), num_samples, channels)
    logits, features = classifiers.predict(classifier, test.image)
    return judge(logits[index_NC], features[index_NC], reference)


@numerics.standard
def truth(
    classifier: classifiers.Classifier,
    num_samples: int,
    data_dir: str | None = None,
    channels: int = 3,
) -> Truth:
    """Measure the references for the samples of any model.

    Args:
      classifier: of the images' data set; see `classifier_files.ready`.
      num_samples: how many samples will be scored.
      data_dir: tensorflow-datasets' folder; see `images.load`.
      channels: digits of a stack.
    """
    known = reference(classifier, data_dir)
    share_T = product(known.share_K.astype(np.float64), channels)
    true = oracle(classifier, num_samples, known, data_dir, channels)
    return Truth(
        classifier,
        known,
        share_T,
        true,
        stacked_mnist_sampling.expected(share_T, num_samples),
    )


@numerics.standard
def make_record(x_NHWC: Any, truth: Truth) -> dict[str, Any]:
    """Score stacked images and return a record of JSON values.

    Args:
      x_NHWC: uint8 [N, H, W, C], or floats in [-1, 1].
      truth: for N samples.

    Returns:
      `metrics`, their `standard_error` over the draws, the `oracle`'s metrics, the
      metrics `expected` of perfect samples and a perfect classifier, the `histogram`
      of counts, and the classifier's identity.
    """
    num = len(x_NHWC)
    metrics = judge(*predict(truth.classifier, x_NHWC), truth.reference)
    count_T = np.rint(num * metrics["histogram"].astype(np.float64)).astype(int)
    spread = stacked_mnist_sampling.standard_errors(count_T, truth.share_T)
    return {
        "dataset": truth.classifier.dataset,
        "samples": num,
        "metrics": {n: records.number(metrics[n]) for n in METRICS},
        "standard_error": {n: records.number(e) for n, e in spread.items()},
        "oracle": {n: records.number(truth.oracle[n]) for n in METRICS},
        "expected": {n: records.number(e) for n, e in truth.expected.items()},
        "histogram": count_T.tolist(),
        "classifier": truth.classifier.identity,
    }


def table(record: dict[str, Any], label: str) -> str:
    """Format a record of `make_record` as Markdown, one metric a line."""
    rows = []
    for name, meaning in METRICS.items():
        value = records.cell(
            record["metrics"][name], record["standard_error"].get(name)
        )
        oracle = records.cell(record["oracle"][name])
        floor = records.cell(record["expected"].get(name))
        rows.append([name.replace("_", " "), value, oracle, floor, meaning])
    return records.table(["", label, "oracle", "floor", "meaning"], rows)
