"""lgan_generate.py: a user's folder in, as many images as he asked for out."""

import csv
import shutil

import numpy as np
import PIL.Image
import pytest
from absl.testing import flagsaver
from support import programs

from lgan_jax import config, generators
from veegan_jax.common import errors
from veegan_jax.data import folders
from veegan_jax.runtime import loop

NAMES = "bar", "cross $x$", "круг"
PER_CLASS = 12
TINY = dict(
    num_samples=7,
    cpu_devices=8,  # as many as the tests have
    autoencoder_steps=20,
    sampler_steps=20,
    autoencoder_widths=["8"],
    shared_widths=["8"],
    sampler_widths=["8"],
    autoencoder_batch=8,
    sampler_batch=8,
    num_moves=50,
)


@pytest.fixture(scope="module")
def program():
    yield from programs.as_module("lgan_generate")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Three classes of 12 images of 8 x 8 pixels: one shape each, of any brightness."""
    generator = np.random.default_rng(0)
    shapes = np.zeros((3, 8, 8))
    shapes[0, :, 3:5] = 1
    shapes[1, [range(8), range(8)], [range(8), range(7, -1, -1)]] = 1
    shapes[2, 2:6, 2:6] = 1
    root = tmp_path_factory.mktemp("source") / "mine"
    for name, shape in zip(NAMES, shapes, strict=True):
        (root / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            light = generator.uniform(60, 255) * shape
            image = np.clip(light + generator.uniform(0, 9, (8, 8)), 0, 255)
            path = root / name / f"{number}.png"
            PIL.Image.fromarray(image.astype(np.uint8)).save(path)
    return root


@pytest.fixture
def generate(program, tmp_path, monkeypatch, source):
    """Runs the program in a folder of the test's own, with tiny models."""
    monkeypatch.chdir(tmp_path)

    def run(**changes):
        name = changes.get("generator", "lgan")
        known = generators.base(name) in generators.names()
        stages = generators.stages([name]) if known and name != "affine+affine" else ()
        unread = generators.unread(config.Config(), stages)
        tiny = {name: value for name, value in TINY.items() if name not in unread}
        values = {"image_dir": str(source)} | tiny | changes
        given = {name: value for name, value in values.items() if value is not None}
        with flagsaver.flagsaver(**given):
            program.main()

    return run


def read_png(folder):
    """Images and labels as labels.csv has them."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    images = [np.asarray(PIL.Image.open(folder / row["file"])) for row in rows]
    for row in rows:
        assert row["file"].startswith(f"{row['class']}/")
        assert sorted(NAMES)[int(row["label"])] == row["class"]
    return np.stack(images), np.array([int(row["label"]) for row in rows])


@pytest.fixture
def unfinished(monkeypatch, program):
    """The first generation is stopped once its models are trained."""
    whole = program.write

    def stop(*_, **__):
        monkeypatch.setattr(program, "write", whole)
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "write", stop)


@pytest.mark.slow
def test_pngs_and_npz_hold_equal_images_and_models_are_only_read_again(
    generate, program, tmp_path, capsys, monkeypatch
):
    generate()
    folder = tmp_path / "runs" / "lgan" / "generate" / "mine"
    names = {p.name for p in folder.iterdir() if not p.name.startswith(".")}
    assert names == {"config.json", "models", "lgan"}
    assert {p.name for p in (folder / "lgan").iterdir()} == {
        *(*NAMES, "labels.csv", "preview.png")
    }
    out = capsys.readouterr().out
    assert f"21 images of 3 classes by lgan: {folder / 'lgan'}" in out
    assert "distance to the nearest given image" in out
    image, label = read_png(folder / "lgan")
    assert image.shape == (21, 8, 8)
    np.testing.assert_array_equal(label, np.repeat(range(3), 7))
    # It is itself a folder of classes, as the program takes them.
    np.testing.assert_array_equal(
        folders.read_classes(folder / "lgan").image[..., 0], image
    )

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("veegan_jax.runtime.parallel.run_steps", never)
    generate(output="again.npz")
    with np.load("again.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["image"][..., 0], image)
        np.testing.assert_array_equal(arrays["label"], label)
        assert arrays["names"].tolist() == sorted(NAMES)
        assert arrays["image"].dtype == np.uint8 and arrays["label"].dtype == np.int32
    left = {"runs", "again.npz", "again.preview.png"}
    assert {p.name for p in tmp_path.iterdir()} == left
    with PIL.Image.open("again.preview.png") as picture:
        assert picture.size[1] > 6 * 40  # given and generated of three classes
    with pytest.raises(errors.InputError, match="holds a different run"):
        generate(seed=1, output="seed")


def test_a_stopped_run_leaves_nothing_and_goes_on(
    generate, program, tmp_path, unfinished
):
    with pytest.raises(loop.Interrupted, match="same command to continue"):
        generate(generator="gaussian", output="out")
    assert not (tmp_path / "out").exists()
    for output in ("out", "other"):
        generate(generator="gaussian", output=output)
    np.testing.assert_array_equal(
        *(read_png(tmp_path / o)[0] for o in ("out", "other"))
    )
    assert {p.name for p in tmp_path.iterdir()} == {"runs", "out", "other"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(image_dir=None), "give --image_dir=, with a folder of images per class"),
        (dict(image_dir="none"), "--image_dir=none is not a folder"),
        (dict(num_samples=0), "--num_samples=0 must be at least 1"),
        (dict(num_samples=2**31 - 1), r"--num_samples=\d+ is over 4 GiB"),
        (dict(cpu_devices=0), "--cpu_devices=0 must be in"),
        (dict(seed=-1), "--seed=-1 must be in "),
        (dict(seed=2**32), "--seed=4294967296 must be in "),
        (dict(generator="gan"), "unknown generator 'gan': one of lgan, plain_gan"),
        (dict(generator="affine+affine"), "each but affine also followed by"),
        (dict(parallel="all"), "--parallel='all' must be one of"),
        (
            dict(parallel="jit", sampler_batch=9),
            "--sampler_batch=9 does not divide over 8 devices",
        ),
        (dict(dataset="mnist"), "--dataset=mnist: the images set it"),
        (dict(fraction=0.5), r"--fraction=0\.5: the images set it"),
        (dict(basis_size=13), "--basis_size=13 vectors cannot be orthogonal in"),
        (dict(autoencoder_widths=["x"]), "--autoencoder_widths=x must be positive"),
        (dict(output="taken"), "--output=.*taken exists and is not overwritten"),
        (dict(output="taken/file"), "taken/file exists and is not overwritten"),
        (dict(output="taken/file/new"), "--output=.*file/new cannot be written"),
        (dict(output="old.npz"), r"--output=.*old\.npz exists and is not overwritten"),
        (dict(output="new.npz"), r"new\.preview\.png exists and is not overwritten"),
        (dict(output="."), "exists and is not overwritten"),
        (dict(output="w/models/lgan", workdir="w"), "--output=.*: models go there"),
        (dict(output="w", workdir="w"), "--output=.*: models go there"),
        (dict(workdir="taken/file"), "--workdir=taken/file cannot be used"),
    ],
)
def test_bad_flags_are_refused_before_any_work(
    generate, program, tmp_path, monkeypatch, changes, message
):
    monkeypatch.setattr(program.stages, "train", None)
    (tmp_path / "taken").mkdir()
    for name in ("taken/file", "old.npz", "new.preview.png"):
        (tmp_path / name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(errors.InputError, match=message):
        generate(**{"output": "out"} | changes)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken" / "file").read_text() == "mine"


def mixed(folder):
    PIL.Image.new("L", (8, 9)).save(folder / "bar" / "tall.png")


def few(folder):
    for number in range(9, PER_CLASS):
        (folder / "bar" / f"{number}.png").unlink()


def large(folder):
    PIL.Image.new("L", (129, 128)).save(folder / "bar" / "0.png")


def broken(folder):
    path = folder / "bar" / "3.png"
    path.write_bytes(path.read_bytes()[:-30])


def reserved(folder):
    (folder / "bar").rename(folder / "labels.csv")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (mixed, r"tall\.png is 8 x 9 pixels, .* 8 x 8: make all images one size"),
        (few, "class 'bar' has 9 images .*; at least 10 are needed"),
        (large, r"0\.png is 129 x 128 pixels, more than 16384 in all"),
        (broken, r"bar/3\.png cannot be read as an image"),
        (reserved, "rename the class 'labels.csv'"),
    ],
)
def test_bad_images_are_refused_before_any_work(
    generate, source, tmp_path, harm, message
):
    shutil.copytree(source, tmp_path / "data")
    harm(tmp_path / "data")
    with pytest.raises(errors.InputError, match=message):
        generate(image_dir="data")
    assert {p.name for p in tmp_path.iterdir()} == {"data"}


@pytest.mark.parametrize("flag", ["workdir", "output"])
def test_nothing_is_written_among_the_images(generate, source, tmp_path, flag):
    shutil.copytree(source, tmp_path / "data")
    with pytest.raises(errors.InputError, match=f"--{flag}=.* is in data"):
        generate(image_dir="data", **{flag: "data/new"})
    assert {p.name for p in (tmp_path / "data").iterdir()} == set(NAMES)


def test_changed_images_need_another_workdir(
    generate, program, source, tmp_path, monkeypatch
):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(program.stages, "train", stop)
    shutil.copytree(source, tmp_path / "data")
    with pytest.raises(loop.Interrupted):
        generate(image_dir="data")
    with PIL.Image.open(tmp_path / "data" / "bar" / "0.png") as image:
        changed = np.array(image)
    changed[0, 0] ^= 1
    PIL.Image.fromarray(changed).save(tmp_path / "data" / "bar" / "0.png")
    with pytest.raises(errors.InputError, match=r"=data: .*\(as many, but others\)"):
        generate(image_dir="data")
    shutil.copy(*((tmp_path / "data" / "bar" / name) for name in ("0.png", "z.png")))
    with pytest.raises(errors.InputError, match=r"\(classes\.bar: \d+ then, \d+ now\)"):
        generate(image_dir="data")
    with pytest.raises(errors.InputError, match="seed: 0 there, 1 now"):
        generate(image_dir="data", seed=1)
    with pytest.raises(loop.Interrupted):
        generate(image_dir="data", seed=1, workdir="other")


def test_what_came_there_meanwhile_is_kept(generate, program, tmp_path, monkeypatch):
    def meanwhile(models, generator, s, num, **_):
        (tmp_path / "new.npz").write_text("mine")
        return np.zeros((3, num, 64), np.uint8)

    monkeypatch.setattr(program.generation, "generate", meanwhile)
    with pytest.raises(errors.InputError, match=r"new\.npz exists and is not over"):
        generate(output="new.npz", generator="affine")
    assert (tmp_path / "new.npz").read_text() == "mine"


def classes(counts, shape):
    """Random images of the given number for each class."""
    image = np.random.default_rng(0).integers(0, 256, (sum(counts), *shape), np.uint8)
    label = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return folders.Classes(image, label, tuple(map(str, range(len(counts)))))


def test_encodings_are_no_larger_than_the_images_bear(program):
    def sizes(*args, **changes):
        found = program.make_config(classes(*args), changes)
        sizes = found.latent_size, found.shared_latent_size
        assert (found.basis_size, found.shared_basis_size) == sizes
        return sizes

    default = config.Config()
    many = (500, 600), (28, 28, 1)
    assert program.make_config(classes(*many), {}) == config.Config(
        dataset="folder", fraction=1.0, data_size=784
    )
    assert sizes(*many) == (
        default.latent_size,
        default.shared_latent_size,
    )
    assert sizes((10, 600), (28, 28, 1)) == (2, 24)
    assert sizes((10, 10), (28, 28, 1)) == (2, 4)
    assert sizes((500, 600), (2, 2, 3)) == (3, 3)
    assert sizes((500, 600), (1, 1, 1)) == (1, 1)
    assert sizes((10, 10), (28, 28, 1), latent_size=5) == (5, 4)
    assert program.make_config(classes((10,), (4, 2, 3)), {}).data_size == 24


def test_more_classes_than_the_memory_bears_are_refused(program, monkeypatch):
    """8 GB hold sixty classes' 2 x 10,000 x 128 weights, six times over, not 1,000."""
    monkeypatch.setattr(program.memory, "total", lambda: 8_000_000_000)
    given = config.Config(data_size=10_000, autoencoder_widths=(128,))
    program.check_memory(given, "lgan", 60)
    for generator in ("lgan", "vae", "lgan+affine"):
        with pytest.raises(
            errors.InputError, match=r"1000 classes .* take 62 GB to tr"
        ):
            program.check_memory(given, generator, 1000)
    for generator in ("affine", "lgan_moves", "mixup_shared+affine"):
        program.check_memory(given, generator, 1000)


def test_novelty_is_0_for_copies_and_counts_no_image_as_its_own_neighbour(program):
    given = classes((12, 15), (3, 3, 1))
    copies = folders.Classes(given.image[::-1], given.label[::-1], given.names)
    assert program.novelty(copies, given) == {"0": 0, "1": 0}
    made = classes((4, 4), (3, 3, 1))
    found = program.novelty(made, given)
    for label, name in enumerate(given.names):
        ours, theirs = (
            c.image[c.label == label].reshape(-1, 9).astype(float)
            for c in (made, given)
        )
        near = [min(np.linalg.norm(a - b) for b in theirs) for a in ours]
        between = [
            min(np.linalg.norm(a - b) for j, b in enumerate(theirs) if i != j)
            for i, a in enumerate(theirs)
        ]
        assert found[name] == pytest.approx(np.median(near) / np.median(between))
    same = folders.Classes(given.image * 0, given.label, given.names)
    assert program.novelty(made, same) == {}
