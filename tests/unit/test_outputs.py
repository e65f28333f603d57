"""Outputs that users name are checked before any work; names are shown as text."""

import os

import jax.numpy as jnp
import numpy as np
import pytest
from support import programs

from veegan_jax.common import errors, figures, files, memory, plots
from veegan_jax.data import mixtures
from veegan_jax.experiments import base
from veegan_jax.experiments import images as image_experiment
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.presets import resolve
from veegan_jax.runtime import workdirs


@pytest.fixture(scope="module")
def eval_samples():
    yield from programs.as_module("eval_samples")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("plot.txt", "must end in .png, .pdf, .svg"),
        ("plot", "must end in"),
        (".png", "must end in"),
        ("folder", "must end in"),
        ("folder.png", "exists and is not overwritten; give another or move it away"),
        ("mine.PNG", "exists and is not overwritten"),
        ("link.png", "exists and is not overwritten"),
        ("none/plot.png", "there is no such folder"),
        ("mine.PNG/plot.png", "there is no such folder"),
        (f"{'a' * 300}.png", "cannot be written (File name too long); give another"),
    ],
)
def test_outputs_that_cannot_be_written_are_refused(tmp_path, monkeypatch, text, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine.PNG").write_text("mine")
    (tmp_path / "link.png").symlink_to("nowhere")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(errors.InputError) as raised:
        files.check_output(text, "figure", *figures.SUFFIXES)
    assert str(raised.value).startswith(f"--figure={text}")
    assert why in str(raised.value)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "mine.PNG").read_text() == "mine"


def test_outputs_that_can_be_written_leave_no_trace(tmp_path):
    assert files.check_output("", "output", ".json") is None
    for name in ("o.json", "O.JSON", f"{'é' * 120}.json"):
        path = tmp_path / name
        assert files.check_output(str(path), "output", ".json") == path
        files.write_atomically(path, "{}")  # the part beside it has room, too
        path.unlink()
    assert list(tmp_path.iterdir()) == []


NAMES = {
    "$_$.npy": "$_$.npy",
    "a$b\\$c.npy": "a$b\\$c.npy",
    "$x$\ny.npy": "$x$?y.npy",
    os.fsdecode(b"x\xff.npy"): "x?.npy",
    "数字.npy": "??.npy",
    "x\x1b[31m.npy": "x?[31m.npy",
    "Größe_Ω.npy": "Größe_Ω.npy",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_drawn_as_text(name, tmp_path, generator):
    """A warning, as of a letter without a glyph, would be an error here."""
    x_N2 = generator.normal(size=(20, 2))
    label = figures.one_line(name)
    plots.samples_and_density({label: x_N2}, x_N2, tmp_path / "x.svg", title=label)
    pixels = np.zeros((2, 4, 4, 1), np.uint8)
    plots.image_grid({label: pixels}, tmp_path / "x.pdf", label)
    plots.image_grid({label: pixels}, tmp_path / "x.PNG", label)
    assert (tmp_path / "x.PNG").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")
    # An SVG names each text that it draws.
    drawn = f"<!-- {NAMES[name].replace('-', '&#45;')} -->"
    assert drawn in (tmp_path / "x.svg").read_text("utf-8")
    assert len(list(tmp_path.iterdir())) == 3


def test_long_names_keep_their_ends():
    short = figures.one_line("samples-" + 300 * "x" + "-last.npy")
    assert len(short) == 40
    assert short.startswith("samples-") and short.endswith("-last.npy")
    assert "..." in short
    assert figures.one_line("x" * 40) == "x" * 40


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (
            np.full((3, 2), 1e300),
            "3 of 3 samples are too large for float32 (up to 1",
        ),
        (np.array([[0, 1e30], [0, 1]]), "1 of 2 samples are too large for float32"),
        (np.array([[0, -1e30], [0, np.inf]]), "1 of 2 samples are not finite"),
        (np.array([[0, np.nan], [0, 1]], np.float16), "1 of 2 samples are not finite"),
        (np.zeros((3, 2), complex), "holds complex128, not floating-point numbers"),
        (np.zeros((3, 2), bool), "holds bool, not floating-point numbers"),
        (
            np.zeros((3, 2), np.int8),
            "holds int8, not floating-point numbers: save array.astype(numpy.float32)",
        ),
        (np.zeros((3, 2), jnp.bfloat16), "holds bfloat16, not floating-point numbers:"),
        (np.zeros((3, 2), "U3"), "holds <U3, not floating-point numbers"),
        (np.zeros(3, [("x", "f4"), ("y", "f4")]), "has shape (3,)"),
        (np.zeros((0, 2)), "has shape (0, 2)"),
        (np.float64(1), "has shape ()"),
    ],
)
def test_samples_that_cannot_be_scored_are_refused(eval_samples, tmp_path, array, why):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(errors.InputError) as raised:
        eval_samples.load(tmp_path / "x.npy", mixtures.ring())
    assert why in str(raised.value)


def test_samples_of_every_float_are_those_of_float32(eval_samples, tmp_path, generator):
    x_NX = generator.normal(size=(5, 2)).astype(np.float16)
    for kind in (np.float16, ">f4", "<f8", np.longdouble):
        np.save(tmp_path / "x.npy", np.asfortranarray(x_NX.astype(kind)))
        found = eval_samples.load(tmp_path / "x.npy", mixtures.ring())
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, x_NX)


def test_scoring_takes_about_its_estimate_of_memory(
    eval_samples, tmp_path, monkeypatch
):
    import jax

    ring, num = mixtures.ring(), 1000
    bound = mixture_metrics.bytes_each(ring)
    program = mixture_experiment.score.__wrapped__.lower(
        jax.ShapeDtypeStruct((5, num, 2), np.float32), "ring"
    ).compile()
    found = program.memory_analysis()
    used = found.temp_size_in_bytes + found.argument_size_in_bytes
    assert bound / 2 < used / num < 2 * bound
    np.save(tmp_path / "x.npy", np.zeros((num, 2), np.float32))
    monkeypatch.setattr(memory, "total", lambda: (num - 1) * (bound + 8))
    with pytest.raises(errors.InputError, match=r"the memory has .* at most 999 of"):
        eval_samples.load(tmp_path / "x.npy", ring)
    monkeypatch.setattr(memory, "total", lambda: num * (bound + 8))
    assert len(eval_samples.load(tmp_path / "x.npy", ring)) == num


@pytest.mark.parametrize(
    ("dataset", "experiment", "options", "total"),
    [
        ("ring", mixture_experiment, base.Options, 2e9),
        ("cifar10", image_experiment, image_experiment.Options, 6e9),
    ],
)
def test_a_run_of_more_samples_than_the_memory_holds_is_refused(
    dataset, experiment, options, total, tmp_path, monkeypatch
):
    """The samples alone would fit, but not what drawing and scoring them takes."""
    monkeypatch.setattr(memory, "total", lambda: int(total))
    config = resolve.resolve("gan", dataset, "quick")
    given = options(samples=10**6, seeds=2)
    message = "^--samples=1000000: 1,000,000 samples take "
    with pytest.raises(errors.InputError, match=message):
        experiment.check([(tmp_path / "run", config)], given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["results.json", "samples.npz", "metrics.jsonl"])
def test_a_folder_of_the_users_own_results_is_no_work_directory(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(errors.InputError, match=f"holds {name}, but config.json, "):
        workdirs.claim(tmp_path, {})
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("dataset", "num", "used"), [("ring", 200_000, 84e6), ("high_dim", 16_000, 1.146e9)]
)
def test_samples_that_fit_in_the_memory_are_not_refused(
    dataset, num, used, monkeypatch
):
    """eval_samples.py used so much more for these samples than for three of them."""
    mixture = mixtures.get(dataset)
    each = mixture_metrics.bytes_each(mixture) + 4 * mixture.size
    monkeypatch.setattr(memory, "total", lambda: int(used))
    memory.check_samples("x.npy", num, each)
    monkeypatch.setattr(memory, "total", lambda: 24 * 10**9)
    with pytest.raises(errors.InputError, match="of them"):
        memory.check_samples("x.npy", 2000 * num, each)
