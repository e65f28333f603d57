"""Photographs: decoded as Pillow and NumPy do by hand; the others skipped, counted.

One file, since all its tests write and read folders by the same helpers.
"""

import io
import json
import os
import pickle
import shutil

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from support.image_sets import smooth

from veegan_jax.common import errors
from veegan_jax.data import folders, photos


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No data or cache of whoever runs the tests."""
    monkeypatch.setenv("VEEGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "unset"))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def write(data):
    """Writes an array (or an image) as a file of the folder."""

    def one(name, image, **options):
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(image, np.ndarray):
            image = PIL.Image.fromarray(image)
        image.save(path, **options)
        return path

    return one


def noise(*shape):
    return np.random.default_rng(shape).integers(0, 256, shape, np.uint8)


def names(found):
    return [found.name(index) for index in range(len(found))]


def read(data, size=4, crop=0, **options):
    return photos.from_folder(data, rule=photos.Rule(size, crop), **options)


def one(data, **options):
    """The only image."""
    found = read(data, **options)
    assert len(found) == 1, found.report()
    return found.take([0])[0][0]


def bicubic(square, size):
    """Bicubic reduction by hand: Keys' kernel (a = -0.5), as wide as the reduction."""
    scale = len(square) / size
    places = np.arange(len(square)) + 0.5
    distance = np.abs(places - scale * (np.arange(size)[:, None] + 0.5)) / scale
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weight = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    weight /= weight.sum(axis=1, keepdims=True)
    rows = np.einsum("jx,yxc->yjc", weight, square.astype(float))
    rows = np.clip(rows, 0, 255)  # Pillow keeps them as bytes
    return np.clip(np.einsum("iy,yjc->ijc", weight, rows), 0, 255)


@pytest.mark.parametrize("shape", [(12, 19, 3), (19, 12, 3), (13, 13, 3)])
def test_the_centred_square_is_reduced_without_aliases(write, data, shape):
    image = noise(*shape)
    write("a.png", image)
    side = min(shape[:2])
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    found = one(data, size=5)
    assert found.shape == (5, 5, 3) and found.dtype == np.uint8
    np.testing.assert_allclose(found, bicubic(square, 5), atol=1.5)


def test_a_square_of_that_size_is_kept_as_it_is(write, data):
    image = noise(4, 4, 3)
    write("a.png", image)
    np.testing.assert_array_equal(one(data), image)


def test_the_crop_is_in_the_files_pixels(write, data):
    """CelebA's 178 x 218, whose usual crops are 108 and 148."""
    image = noise(218, 178, 3)
    write("a.png", image)
    for crop, top, left in ((108, 55, 35), (148, 35, 15)):
        square = image[top : top + crop, left : left + crop]
        found = one(data, size=64, crop=crop)
        np.testing.assert_allclose(found, bicubic(square, 64), atol=1.5)
    found = one(data, size=108, crop=108)
    np.testing.assert_array_equal(found, image[55:163, 35:143])


def test_what_is_smaller_than_the_crop_is_skipped_than_the_result_enlarged(write, data):
    write("a.png", noise(9, 30, 3))
    write("b.png", noise(10, 10, 3))
    found = read(data, size=16, crop=10)
    assert names(found) == ["b.png"]
    assert "1 smaller than the crop (a.png)" in found.report()
    assert "1 of 1 images are smaller than 16 x 16 pixels" in found.report()
    [skipped] = found.skipped
    assert skipped.text == "is 30 x 9 pixels, less than --crop=10"
    assert found.take([0])[0].shape == (1, 16, 16, 3)


def test_every_kind_of_8_bits_is_read(write, data):
    grey, colour, clear = noise(4, 4), noise(4, 4, 3), noise(4, 4)
    few = PIL.Image.fromarray(colour).quantize(5)
    share = clear[..., None] / 255
    with_alpha = np.concatenate([colour, clear[..., None]], axis=-1)
    cases = {
        "grey.png": (grey, grey[..., None]),
        "palette.gif": (few, np.asarray(few.convert("RGB"))),
        "alpha.png": (with_alpha, colour * share),
        "grey_alpha.png": (np.stack([grey, clear], -1), grey[..., None] * share),
        "bits.png": (PIL.Image.fromarray(grey > 99), 255 * (grey > 99)[..., None]),
        "cmyk.tif": (PIL.Image.fromarray(colour).convert("CMYK"), colour),
    }
    for name, (image, expected) in cases.items():
        write(name, image)
        expected = np.broadcast_to(expected, (4, 4, 3))
        np.testing.assert_allclose(one(data), expected, atol=1.01, err_msg=name)
        (data / name).unlink()
    write("clear.png", PIL.Image.fromarray(grey), transparency=int(grey[0, 0]))
    assert (one(data)[grey == grey[0, 0]] == 0).all()
    (data / "clear.png").unlink()
    write("cmyk.jpg", PIL.Image.fromarray(smooth(8, 8)).convert("CMYK"), quality=100)
    np.testing.assert_allclose(one(data, size=8), smooth(8, 8), atol=12)


def test_images_are_turned_before_they_are_cropped(write, data):
    image = noise(4, 7, 3)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the top row is on the right
    write("a.png", image, exif=exif)
    turned = np.rot90(image, -1)  # 7 high, 4 wide
    np.testing.assert_array_equal(one(data), turned[1:5])


@pytest.mark.parametrize("turned", [False, True])
def test_large_jpegs_are_decoded_smaller_and_look_the_same(write, data, turned):
    image = smooth(611, 803)
    exif = PIL.Image.Exif()
    exif[0x0112] = 8 if turned else 1
    path = write("a.jpg", image, quality=95, exif=exif)
    with PIL.Image.open(path) as unpacked:
        unpacked.draft(None, (43, 32))
        assert unpacked.size == (101, 77)  # what Pillow does for this size
    square = np.rot90(image[:, 96:707]) if turned else image[:, 96:707]
    np.testing.assert_allclose(one(data, size=16), bicubic(square, 16), atol=4)
    # Half of it would be less than twice 160.
    with PIL.Image.open(path) as unpacked:
        whole = unpacked.crop((96, 0, 707, 611))
    whole = whole.transpose(PIL.Image.Transpose.ROTATE_90) if turned else whole
    expected = np.asarray(whole.resize((160, 160), PIL.Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(one(data, size=160), expected)


def test_all_images_of_a_folder_are_found_in_the_order_of_their_paths(write, data):
    images = noise(6, 4, 4)
    paths = ["b/z.PNG", "a.b/1.png", "a/deep/er/é.webp", "a/B.png", "ä.tiff", "a/b.gif"]
    for path, image in zip(paths, images, strict=True):
        write(path, image, **({"lossless": True} if "webp" in path else {}))
    write(".hidden.png", images[0])
    write(".hidden/1.png", images[0])
    write("a/.hidden.png", images[0])
    found = read(data)
    assert names(found) == sorted(paths)
    order = [paths.index(path) for path in sorted(paths)]
    image, replaced = found.take(range(6))
    np.testing.assert_array_equal(image[..., 0], images[order])
    assert not replaced.any()
    assert found.report() == ""
    assert found.source == "6 images of the folder data"


def test_whatever_is_no_image_is_skipped_and_counted(write, data, tmp_path):
    images = noise(3, 8, 8, 3)
    for number, image in enumerate(images):
        write(f"good{number}.png", image)
    whole = write("cut.jpg", smooth(64, 64)).read_bytes()
    (data / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (data / "empty.jpg").touch()
    (data / "text.jpg").write_text("no image")
    (data / "list.txt").write_text("no image")
    write("page.png", images[0], format="EPS")
    write("deep.png", noise(8, 8).astype(np.uint16) * 200)
    frames = [PIL.Image.fromarray(noise(8, 8 + n)).resize((8, 8)) for n in range(2)]
    write("moves.gif", frames[0], save_all=True, append_images=frames[1:])
    write("bomb.png", PIL.Image.new("1", (20_000, 20_000)))
    write("large.png", PIL.Image.new("1", (9_000, 9_000)))
    outside = shutil.copy(data / "good0.png", tmp_path / "outside.png")
    (data / "link.png").symlink_to(outside)
    (data / "within.png").symlink_to(data / "good1.png")
    (data / "gone.png").symlink_to(data / "nothing.png")
    (data / "up").symlink_to(tmp_path)
    (data / "round").symlink_to(data)
    (data / "folder.png").mkdir()
    os.mkfifo(data / "pipe.png")
    found = read(data, size=8)
    assert names(found) == ["good0.png", "good1.png", "good2.png", "within.png"]
    np.testing.assert_array_equal(found.image, images[[0, 1, 2, 1]])
    by_kind = {}
    for skipped in found.skipped:
        by_kind.setdefault(skipped.kind, set()).add(skipped.name)
    assert by_kind == {
        "cannot be read": {"cut.jpg", "empty.jpg", "text.jpg", "page.png"},
        "not named as an image": {"list.txt"},
        "over 8 bits a channel": {"deep.png"},
        "several images": {"moves.gif"},
        "too many pixels": {"bomb.png", "large.png"},
        "links out of the folder": {"link.png"},
        "links to folders": {"up", "round"},
        "no file": {"gone.png", "pipe.png"},
    }
    report = found.report()
    assert report.startswith("skipped 14 files: 4 cannot be read (cut.jpg, empty.jpg, ")
    assert "page.png, ...); " in report
    assert "1 several images (moves.gif); 2 too many pixels (bomb.png, " in report


def test_names_of_any_bytes_are_read_and_shown(write, data):
    bad = data / os.fsdecode(b"\xff.png")
    shutil.copy(write("two\nlines.png", noise(4, 4, 3)), bad)
    (data / os.fsdecode(b"\xfe.jpg")).touch()
    for _ in range(2):  # decoded, from the cache
        found = read(data)
        assert names(found) == ["'two\\nlines.png'", "'\\udcff.png'"]
        assert "'\\udcfe.jpg'" in found.report()
        found.report().encode()


def test_too_few_images_are_refused_with_the_numbers(write, data):
    with pytest.raises(errors.InputError, match=r"--image_dir=.*/no is not a folder"):
        read(data / "no")
    with pytest.raises(
        errors.InputError, match=r"--image_dir=\S+ has no images \(\.pn"
    ):
        read(data)
    (data / "a.txt").touch()
    with pytest.raises(errors.InputError, match=r"no images .*\n.*not named as an im"):
        read(data)
    (data / "a.jpg").touch()
    with pytest.raises(
        errors.InputError, match=r"0 usable images; at least 1 .*\n.*cannot be read \(a"
    ):
        read(data)
    write("b.png", noise(4, 4))
    with pytest.raises(errors.InputError, match="1 usable images; at least 2 are need"):
        read(data, least=2)
    assert len(read(data, least=1)) == 1
    for option, match in (({"size": 0}, "--image_size=0"), ({"crop": -1}, "--crop=-1")):
        with pytest.raises(errors.InputError, match=match):
            read(data, **option)


def test_memory_decides_where_images_are_not_which(write, data):
    for number in range(5):
        write(f"{number}.png", noise(6, 7 + number, 3))
    (data / "2a.png").touch()
    inside, outside = read(data, memory=6 * 48), read(data, memory=6 * 48 - 1)
    assert inside.image.shape == (5, 4, 4, 3) and outside.image is None
    assert names(inside) == names(outside)
    assert inside.sha256() == outside.sha256()
    index = [4, 0, 0, 3]
    for one_, other in zip(inside.take(index), outside.take(index), strict=True):
        np.testing.assert_array_equal(one_, other)
    copy = pickle.loads(pickle.dumps(outside))
    np.testing.assert_array_equal(copy.take(index)[0], outside.take(index)[0])


def forbid(monkeypatch):
    def fail(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(photos, "_decode", fail)


def test_a_second_start_decodes_nothing_until_something_changes(
    write, data, monkeypatch
):
    for number in range(3):
        write(f"{number}.png", noise(6, 7 + number, 3))
    (data / "bad.jpg").touch()
    first = read(data, size=9)
    with monkeypatch.context() as patch:
        forbid(patch)
        second = read(data, size=9)
        np.testing.assert_array_equal(second.image, first.image)
        assert second.report() == first.report() and "enlarged" in first.report()
        assert second.sha256() == first.sha256()
        assert read(data, size=9, memory=0).report() == first.report()
        (data / "notes.txt").touch()  # is no image
        assert len(read(data, size=9)) == 3
        for change in ({"size": 8}, {"size": 9, "crop": 5}):
            with pytest.raises(AssertionError, match="again"):
                read(data, **change)
        os.utime(data / "0.png", ns=(0, 0))
        with pytest.raises(AssertionError, match="again"):
            read(data, size=9)
    assert read(data, size=9).sha256() == first.sha256()  # the same files
    (data / "0.png").unlink()
    assert len(read(data, size=9)) == 2
    assert read(data, size=9).sha256() != first.sha256()


def test_an_index_made_without_images_gets_them_when_memory_allows(write, data):
    write("0.png", noise(4, 4, 3))
    assert read(data, memory=0).image is None
    assert read(data).image.shape == (1, 4, 4, 3)


def test_damaged_caches_are_set_aside_and_made_again(write, data, tmp_path, caplog):
    write("0.png", noise(4, 4, 3))
    (data / "bad.jpg").touch()
    expected = read(data)
    cache = tmp_path / "cache" / "veegan_jax"
    index, images = sorted(cache.iterdir())
    assert (index.suffix, images.suffix) == (".json", ".npy")
    other = {"total": 2, "enlarged": 0, "skipped": [[2, "a", "b"]]}
    for path, content in (
        (index, b"{"),
        (index, b"{}"),
        (index, json.dumps(other).encode()),
        (images, b"\x93NUMPY"),
        (images, images.read_bytes()[:-1]),
    ):
        path.write_bytes(content)
        found = read(data)
        np.testing.assert_array_equal(found.image, expected.image)
        assert found.report() == expected.report()
        kept = cache.glob(f"{path.name}.damaged*")
        assert content in [other.read_bytes() for other in kept]
    assert caplog.text.count("set aside, made again") == 5
    assert len(list(cache.iterdir())) == 2 + 5  # and no parts


def test_a_cache_that_cannot_be_written_is_done_without(write, data, tmp_path, caplog):
    write("0.png", noise(4, 4, 3))
    (tmp_path / "file").touch()
    assert len(read(data, cache_dir=str(tmp_path / "file"))) == 1
    assert "decoded images and measured accuracies cannot be kept in" in caplog.text


def test_what_becomes_unreadable_is_replaced_by_the_next(write, data):
    images = noise(30, 4, 4, 3)
    for number, image in enumerate(images):
        write(f"{number:02d}.png", image)
    found = read(data, memory=0)
    (data / "03.png").unlink()
    (data / "04.png").write_text("no image")
    write("29.png", PIL.Image.new("1", (9_000, 9_000)))
    image, replaced = found.take(np.array([2, 3, 4, 5, 29]))
    np.testing.assert_array_equal(image, images[[2, 5, 5, 5, 0]])
    np.testing.assert_array_equal(replaced, [False, True, True, False, True])
    shutil.rmtree(data)
    with pytest.raises(
        errors.InputError, match=r"02\.png and 9 more of 30 images of the folder data"
    ):
        found.take([2])


def test_odd_metadata_says_nothing(write, data, recwarn):
    exif = b"Exif\0\0II*\0\x08\0\0\0"  # and no list of tags
    path = write("0.jpg", smooth(8, 8), exif=exif)
    with (
        pytest.warns(UserWarning, match="Corrupt EXIF data"),
        PIL.Image.open(path) as image,
    ):
        PIL.ImageOps.exif_transpose(image)
    recwarn.clear()
    assert len(read(data)) == 1
    assert not recwarn.list


def test_the_rule_reads_files_in_memory_too():
    image = noise(4, 4, 3)
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "PNG")
    found, enlarged = photos.Rule(size=4).read(file)
    np.testing.assert_array_equal(found, image)
    assert not enlarged
    with pytest.raises(folders.Unusable, match="cannot be read as an image"):
        photos.Rule().read(io.BytesIO(b"no image"))
