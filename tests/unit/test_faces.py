"""The experiment on a folder of images: resident, streamed, resumed, measured."""

import json
import shutil

import numpy as np
import PIL.Image
import pytest
from support import tiny

from veegan_jax.common import errors
from veegan_jax.experiments import faces
from veegan_jax.presets import resolve


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / "cache"))


def options(folder, **changes):
    values = dict(image_dir=str(folder), seeds=2, samples=100, interval=2, workers=0)
    return faces.Options(**(values | {"save_every": 0.0} | changes))


def preset(**changes):
    return resolve.resolve("gan", "faces", "quick", **(tiny.FACES | changes))


def test_the_images_held_out_are_not_trained_on(folder):
    photos = faces.read(options(folder), 8, 4)
    assert len(photos) == 43
    assert len(photos.skipped) == 2
    train, test = faces.split(photos)
    names = [[part.name(i) for i in range(len(part))] for part in (train, test)]
    assert set(names[0]).isdisjoint(names[1])
    assert sorted(names[0] + names[1]) == [photos.name(i) for i in range(43)]
    assert names[1] == [photos.name(i) for i in (0, 20, 40)]
    np.testing.assert_array_equal(test.image, photos.image[::20])
    np.testing.assert_array_equal(train.take([0])[0], photos.image[1:2])


def test_the_images_compared_are_of_the_whole_folder():
    """Files are often sorted by class."""

    class Sorted:
        def __len__(self):
            return 2500

        def take(self, index_N):
            return np.asarray(index_N), {}

    place_N = faces.some_of(Sorted())
    assert len(set(place_N.tolist())) == len(place_N) == 2000
    of_class_C = np.bincount(place_N // 250, minlength=10)
    assert of_class_C.min() > 180 and of_class_C.max() < 220
    # Neighbours are of different classes as often as if drawn at random.
    alike = np.mean(place_N[1:] // 250 == place_N[:-1] // 250)
    assert alike == pytest.approx(0.1, abs=0.02)


@pytest.mark.slow
def test_a_streamed_run_resumes_to_the_same_bits(folder, tmp_path):
    where = options(folder, memory_mib=0)
    photos = faces.read(where, 8, 4)
    assert photos.image is None
    config = preset(streamed=True)
    whole = faces.run(config, where, tmp_path / "whole", photos)
    tiny.as_if_killed(tmp_path / "whole", 4, tmp_path / "part")
    part = faces.run(config, where, tmp_path / "part", photos)
    assert part["per_seed"] == whole["per_seed"]
    record = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert record["data"] == photos.source
    assert "waited_seconds" in record
    with PIL.Image.open(tmp_path / "whole" / "samples.png") as image:
        assert min(image.size) > 100


def test_another_folder_is_refused(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    where = options(folder)
    faces.check(preset(), where, tmp_path / "run", faces.read(where, 8, 4))
    same = faces.read(options(other), 8, 4)  # a copy is the same data
    faces.check(preset(), where, tmp_path / "run", same)
    (other / "02.png").unlink()
    fewer = faces.read(options(other), 8, 4)
    with pytest.raises(errors.InputError, match=r"images: 43 then, 42 now\)"):
        faces.check(preset(), where, tmp_path / "run", fewer)
