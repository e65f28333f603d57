"""Files of samples and features: what is recognised, and what is refused."""

import numpy as np
import PIL.Image
import pytest

from veegan_jax.common import errors
from veegan_jax.data import sample_files


def written(folder, array):
    np.save(folder / "x.npy", array)
    return folder / "x.npy"


def images(shape, low=0.0, high=1.0, dtype=np.float32):
    x = np.random.default_rng(0).uniform(low, high, shape)
    x.flat[:2] = low, high
    return x.astype(dtype)


def test_features_are_kept(tmp_path):
    x = np.random.default_rng(0).normal(size=(7, 3))
    found, how = sample_files.read(written(tmp_path, x))
    np.testing.assert_allclose(found, x, rtol=1e-6)
    assert found.dtype == np.float32 and how == "7 features of 3"


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((5, 8, 8, 3), "NHWC"), ((5, 3, 8, 8), "NCHW"), ((5, 8, 8), "NHW")],
)
def test_layouts_are_recognised(shape, layout, tmp_path):
    x = images(shape)
    found, how = sample_files.read(written(tmp_path, x))
    expected = {
        "NHWC": lambda: x,
        "NCHW": lambda: np.moveaxis(x, 1, 3),
        "NHW": lambda: x[..., None],
    }[layout]()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert how == f"5 images, {layout}, pixels in [0,1]"


@pytest.mark.parametrize(
    ("low", "high", "dtype", "name"),
    [
        (0, 1, np.float32, "0,1"),
        (-1, 1, np.float64, "-1,1"),
        (0, 255, np.float32, "0,255"),
        (0, 255, np.uint8, "0,255"),
        (0, 1, np.uint8, "0,255"),  # nearly black, as a collapsed model may draw
    ],
)
def test_ranges_are_recognised(low, high, dtype, name, tmp_path):
    x = images((4, 6, 6, 1), low, high, dtype)
    found, how = sample_files.read(written(tmp_path, x))
    least, most = sample_files.RANGES[name]
    expected = (x.astype(np.float64) - least) / (most - least)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert how.endswith(f"[{name}]")


def test_what_is_stated_counts(tmp_path):
    path = written(tmp_path, images((3, 3, 5, 3), 0, 0.5))
    found, _ = sample_files.read(path, layout="NCHW", value_range="-1,1")
    assert found.shape == (3, 5, 3, 3)
    assert found.min() == 0.5


def test_a_folder_is_read(tmp_path):
    for number in range(3):
        pixels = np.full((10, 12, 3), 100 * number, np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    found, how = sample_files.read(tmp_path, image_size=4)
    assert found.shape == (3, 4, 4, 3)
    np.testing.assert_allclose(found[:, 0, 0, 0], [0, 100 / 255, 200 / 255], atol=1e-6)
    assert how == "3 images of a folder, at 4 x 4 pixels"
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.InputError, match=r"^/.*empty has no images"):
        sample_files.read(tmp_path / "empty")  # no flag gave it


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.ones((4, 3, 5, 3)), {}, r"either axis may be the channels; say --layout"),
        (np.ones((4, 6, 5, 7)), {}, "no axis has 1, 3 or 4; say --layout"),
        (np.ones(5), {}, r"has shape \(5,\); give features"),
        (np.ones((0, 5)), {}, r"has shape \(0, 5\); give features"),
        (np.array([["a"]]), {}, "not numbers"),
        (np.full((4, 2), np.nan), {}, "4 of 4 examples are not finite"),
        (images((4, 6, 6, 1), -3, 3), {}, "pixels from -3 to 3: scale them"),
        (images((4, 6, 6, 1), 0, 2), dict(value_range="0,1"), "outside --range=0,1"),
        (np.ones((4, 6, 6, 1)), dict(layout="NHW"), "--layout=NHW has 3 axes"),
        (np.ones((4, 6, 6, 1)), dict(layout="HWC"), "--layout=HWC must be one of auto"),
        (np.ones((4, 6, 6, 1)), dict(value_range="1"), "--range=1 must be one of auto"),
    ],
)
def test_what_cannot_be_told_is_refused(array, options, message, tmp_path):
    with pytest.raises(errors.InputError, match=message):
        sample_files.read(written(tmp_path, array), **options)
