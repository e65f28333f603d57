"""Folders of images: read as PIL wrote them, and everything else refused by name."""

import csv
import os
import shutil

import numpy as np
import PIL.Image
import pytest

from veegan_jax.common import errors
from veegan_jax.data import folders


@pytest.fixture
def write(tmp_path):
    """Writes an array (or an image) as a file of tmp_path / "data"."""

    def one(name, image, **options):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(image, np.ndarray):
            image = PIL.Image.fromarray(image)
        image.save(path, **options)
        return path

    return one


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


def noise(*shape):
    return np.random.default_rng(len(shape)).integers(0, 256, shape, np.uint8)


def test_classes_and_files_come_by_name_whatever_the_order_they_were_written_in(
    write, data
):
    images = noise(5, 3, 4)
    names = ["B/2.PNG", "a/x.png", "B/10.bmp", "a/é.tiff", "B/Z.gif"]
    for name, image in zip(names, images, strict=True):
        write(name, image)
    write("B/.hidden.png", images[0])
    write(".hidden/1.png", images[0])
    (data / "B" / "notes.txt").write_text("no image")
    (data / "readme.txt").write_text("no class")
    found = folders.read_classes(data, least=2)
    assert found.names == ("B", "a")
    np.testing.assert_array_equal(found.label, [0, 0, 0, 1, 1])
    assert (found.image.dtype, found.label.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(found.image[..., 0], images[[2, 0, 4, 1, 3]])
    assert found.image.shape == (5, 3, 4, 1)


def test_one_image_in_colour_makes_all_three_channels(write, data):
    grey, colour = noise(3, 4), noise(3, 4, 3)
    write("a/0.png", grey)
    write("a/1.png", colour)
    found = folders.read_classes(data)
    np.testing.assert_array_equal(found.image[0], np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(found.image[1], colour)


def test_grey_kept_as_colour_is_grey(write, data):
    grey = noise(3, 4)
    write("a/0.png", np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(folders.read_classes(data).image[0, ..., 0], grey)


def test_every_kind_of_8_bits_is_read(write, data):
    grey, colour, clear = noise(3, 4), noise(3, 4, 3), noise(3, 4)
    few = PIL.Image.fromarray(colour).quantize(5)
    bits = PIL.Image.fromarray(grey > 99)
    share = clear[..., None] / 255
    with_alpha = np.concatenate([colour, clear[..., None]], axis=-1)
    cases = {
        "palette.png": (few, np.asarray(few.convert("RGB"))),
        "palette.gif": (few, np.asarray(few.convert("RGB"))),
        "alpha.png": (with_alpha, colour * share),
        "alpha.webp": (with_alpha, colour * share),
        "grey_alpha.png": (np.stack([grey, clear], -1), grey[..., None] * share),
        "bits.png": (bits, 255 * (grey > 99)[..., None]),
        "cmyk.tif": (PIL.Image.fromarray(colour).convert("CMYK"), colour),
    }
    for name, (image, expected) in cases.items():
        shutil.rmtree(data, ignore_errors=True)
        write(f"a/{name}", image, **({"lossless": True} if "webp" in name else {}))
        found = folders.read_classes(data).image[0]
        np.testing.assert_allclose(
            found + 0.0 * expected, expected, atol=1, err_msg=name
        )
    # A colour of the palette that stands for nothing.
    shutil.rmtree(data)
    write("a/0.png", few, transparency=0)
    found = folders.read_classes(data).image[0]
    expected = np.asarray(few.convert("RGB")).copy()
    expected[np.asarray(few) == 0] = 0
    np.testing.assert_array_equal(np.broadcast_to(found, expected.shape), expected)


@pytest.mark.parametrize("name", ["0.png", "0.tiff", "0.webp"])
def test_images_are_turned_as_the_camera_was(write, data, name):
    image = noise(3, 4, 3)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the top row is on the right
    options = {"lossless": True} if name.endswith("webp") else {}
    write(f"a/{name}", image, exif=exif, **options)
    found = folders.read_classes(data).image[0]
    np.testing.assert_array_equal(found, np.rot90(image, -1))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("0.png", np.uint16), *(("0.tif", k) for k in (np.uint16, np.int32, np.float32))],
)
def test_more_than_8_bits_are_refused_not_cut_off(write, data, name, kind):
    image = (noise(3, 4).astype(kind) + 1) * 200
    write(f"a/{name}", image)
    with pytest.raises(errors.InputError, match=rf"{name} has pixels of kind .*8 bits"):
        folders.read_classes(data)


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif", "webp", "jpg"])
def test_every_damaged_file_is_named_or_read(write, data, suffix):
    path = write(f"a/0.{suffix}", noise(16, 16, 3))
    whole = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(errors.InputError, match=rf"0\.{suffix} cannot be read as an"):
        folders.read_classes(data)
    refused = 0
    for end in range(1, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:end])
        refused += _refused(data, suffix)
    assert refused > 25  # the last bytes of some formats say nothing
    generator = np.random.default_rng(1)
    for _ in range(60):
        bytes_ = bytearray(whole)
        for place in generator.integers(0, len(whole), 4):
            bytes_[place] = generator.integers(0, 256)
        path.write_bytes(bytes_)
        _refused(data, suffix)


def _refused(data, suffix):
    """Whether the one image is refused, by name; anything else is raised."""
    try:
        folders.read_classes(data)
    except errors.InputError as error:
        assert f"0.{suffix}" in str(error)
        return True
    return False


def test_a_file_is_what_its_contents_say_among_images_only(write, data):
    image = noise(3, 4)
    write("a/0.jpg", image, format="PNG")
    np.testing.assert_array_equal(folders.read_classes(data).image[0, ..., 0], image)
    (data / "a" / "0.jpg").unlink()
    write("a/0.png", image, format="EPS")
    with pytest.raises(errors.InputError, match=r"0\.png cannot be read as an image"):
        folders.read_classes(data)


def test_bombs_are_refused_unopened(write, data):
    path = write("a/0.png", PIL.Image.new("1", (20_000, 20_000)))
    with pytest.raises(errors.InputError, match=r"0\.png cannot be read.* bomb"):
        folders.read_classes(data)
    path.unlink()
    write("a/0.png", PIL.Image.new("1", (10_000, 10_000)))  # PIL would only warn
    with pytest.raises(
        errors.InputError, match=r"0\.png is 10000 x 10000 .* more than"
    ):
        folders.read_classes(data)


def test_sizes_that_differ_are_refused_at_once(write, data):
    write("a/0.png", noise(3, 4))
    path = write("b/0.png", noise(4, 3))
    (path.parent / "1.png").write_bytes(b"never opened")
    with pytest.raises(
        errors.InputError, match=r"b/0\.png is 3 x 4 pixels, .*a/0\.png 4 x 3"
    ):
        folders.read_classes(data)


def test_several_pictures_in_a_file_are_refused(write, data):
    frames = [PIL.Image.fromarray(noise(3, 4 + n)).resize((4, 3)) for n in range(2)]
    write("a/0.gif", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(errors.InputError, match=r"0\.gif holds 2 images"):
        folders.read_classes(data)


def test_too_few_images_and_no_classes(write, data, tmp_path):
    with pytest.raises(errors.InputError, match=r"--image_dir=.*data is not a folder"):
        folders.read_classes(data)
    write("0.png", noise(3, 4))
    with pytest.raises(errors.InputError, match="holds no folders: make one for each"):
        folders.read_classes(data)
    with pytest.raises(errors.InputError, match=r"0\.png is not a folder"):
        folders.read_classes(data / "0.png")
    write("a/0.png", noise(3, 4))
    (data / "b").mkdir()
    with pytest.raises(errors.InputError, match="class 'b' has 0 images"):
        folders.read_classes(data)
    write("b/0.png", noise(3, 4))
    with pytest.raises(errors.InputError, match=r"class 'a' has 1 images .*at least 2"):
        folders.read_classes(data, least=2)


def test_images_beside_the_classes_are_passed_over_and_named(write, data, caplog):
    write("preview.png", noise(9, 9))
    write("a/0.png", noise(3, 4))
    assert folders.read_classes(data).image.shape == (1, 3, 4, 1)
    assert "1 images beside the folders" in caplog.text
    assert "preview.png" in caplog.text


def test_folders_in_classes_are_refused(write, data):
    write("a/0.png", noise(3, 4))
    write("a/more/1.png", noise(3, 4))
    with pytest.raises(errors.InputError, match="a/more is a folder within a class"):
        folders.read_classes(data)


def test_links_may_not_lead_out(write, data, tmp_path):
    inside = write("a/0.png", noise(3, 4))
    outside = tmp_path / "0.png"
    shutil.copy(inside, outside)
    (data / "a" / "1.png").symlink_to(inside)
    assert len(folders.read_classes(data).image) == 2
    (data / "a" / "2.png").symlink_to(outside)
    with pytest.raises(errors.InputError, match=r"a/2\.png leads out of .*data"):
        folders.read_classes(data)
    (data / "a" / "2.png").unlink()
    (tmp_path / "b").mkdir()
    (data / "b").symlink_to(tmp_path / "b")
    with pytest.raises(errors.InputError, match=r"b leads out of .*data"):
        folders.read_classes(data)
    (data / "b").unlink()
    (data / "a" / "1.png").unlink()
    (data / "a" / "1.png").symlink_to(data / "gone.png")
    with pytest.raises(errors.InputError, match=r"a/1\.png cannot be read"):
        folders.read_classes(data)


def test_what_would_wait_or_cannot_be_written_is_refused(write, data):
    write("a/0.png", noise(3, 4))
    os.mkfifo(data / "a" / "1.png")
    with pytest.raises(errors.InputError, match=r"1\.png cannot .*it is no file"):
        folders.read_classes(data)
    (data / "a" / "1.png").unlink()
    for name in ("two\nlines", os.fsdecode(b"\xff")):
        (data / "a").rename(data / name)
        with pytest.raises(errors.InputError, match="rename it, to printable"):
            folders.read_classes(data)
        (data / name).rename(data / "a")


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read_again(tmp_path, channels):
    label = np.array([0, 1, 0, 2, 1], np.int32)
    made = folders.Classes(noise(5, 3, 4, channels), label, ("a", "b,c", "ü"))
    (tmp_path / "made").mkdir()
    folders.write_folder(made, tmp_path / "made")
    found = folders.read_classes(tmp_path / "made")
    order = np.argsort(label, kind="stable")
    np.testing.assert_array_equal(found.image, made.image[order])
    np.testing.assert_array_equal(found.label, label[order])
    assert found.names == made.names
    with (tmp_path / "made" / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == label[order].tolist()
    for row, image in zip(rows, made.image[order], strict=True):
        assert made.names[int(row["label"])] == row["class"]
        pixels = np.asarray(PIL.Image.open(tmp_path / "made" / row["file"]))
        np.testing.assert_array_equal(pixels.reshape(image.shape), image)

    folders.write_npz(made, tmp_path / "made.npz")
    with np.load(tmp_path / "made.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["image"], made.image)
        np.testing.assert_array_equal(arrays["label"], label)
        assert tuple(arrays["names"].tolist()) == made.names


def test_a_digest_tells_pixels_labels_names_and_shapes_apart():
    image, label = noise(4, 2, 2, 1), np.array([0, 0, 1, 1], np.int32)
    different = [
        folders.Classes(image, label, ("a", "b")),
        folders.Classes(image ^ 1, label, ("a", "b")),
        folders.Classes(image, label[::-1], ("a", "b")),
        folders.Classes(image, label, ("a", "c")),
        folders.Classes(image.reshape(4, 1, 4, 1), label, ("a", "b")),
    ]
    assert len({classes.sha256() for classes in different}) == len(different)
    copy = folders.Classes(image.copy(), label.copy(), ("a", "b"))
    assert copy.sha256() == different[0].sha256()
