"""Figures are the same wherever they are drawn, and leave the user's settings alone."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL.Image

from veegan_jax.common import plots

PROGRAM = """
import os, pathlib, sys
import numpy as np
{before}
from veegan_jax.common import plots
plots.image_grid({{"row": np.zeros((2, 4, 4, 1), np.uint8)}}, pathlib.Path("grid.png"))
frames = [(f"step {{n}}", np.eye(2) * n) for n in range(2)]
plots.animation(frames, np.eye(2), pathlib.Path("movie.gif"))
import matplotlib
{after}
"""


def _draw(
    folder: pathlib.Path, before: str = "", after: str = "", **environment: str
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before, after=after)],
        env=os.environ | environment,
        cwd=folder,
        text=True,
        capture_output=True,
    )


def _same_as_here(folder: pathlib.Path) -> bool:
    here = folder / "here.png"
    plots.image_grid({"row": np.zeros((2, 4, 4, 1), np.uint8)}, here)
    drawn, expected = PIL.Image.open(folder / "grid.png"), PIL.Image.open(here)
    with PIL.Image.open(folder / "movie.gif") as movie, drawn, expected:
        return movie.n_frames == 2 and np.array_equal(drawn, expected)


def test_a_backend_that_is_not_installed_does_not_matter(tmp_path):
    backend = "module://no_such.backend"
    after = f"""
assert "matplotlib.pyplot" not in sys.modules
assert os.environ["MPLBACKEND"] == {backend!r}
"""
    done = _draw(tmp_path, after=after, MPLBACKEND=backend)
    assert not done.returncode, done.stderr
    assert _same_as_here(tmp_path)


def test_a_notebook_keeps_its_backend_and_style(tmp_path):
    style = "text.usetex: True\naxes.facecolor: red\nfont.size: 30\nsavefig.dpi: 30\n"
    (tmp_path / "matplotlibrc").write_text(style)  # LaTeX need not be there
    after = """
from matplotlib import pyplot as plt
assert plt.get_backend() == "template", plt.get_backend()
assert matplotlib.rcParams["axes.facecolor"] == "red"
assert not plt.get_fignums()
"""
    done = _draw(tmp_path, after=after, MPLBACKEND="template")
    assert not done.returncode, done.stderr
    assert _same_as_here(tmp_path)


def test_settings_that_cannot_be_read_are_one_message_before_the_work(tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(b"font.size: \xff")
    before = """
from veegan_jax.common import errors
from veegan_jax.runtime import workdirs
try:
    workdirs.claim(pathlib.Path("run"), {})
except errors.InputError as error:
    assert not pathlib.Path("run").exists()
    sys.exit(str(error))
"""
    done = _draw(tmp_path, before)
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith("matplotlib cannot read its settings ('utf-8' codec")
    assert message.endswith("in this folder, $MATPLOTLIBRC or ~/.config/matplotlib")


def test_images_of_four_channels_are_shown_as_a_square_of_them():
    image = np.arange(2 * 3 * 5 * 4).reshape(2, 3, 5, 4)
    shown = plots.viewable(image)
    assert shown.shape == (2, 6, 10, 1)
    np.testing.assert_array_equal(shown[:, :3, :5, 0], image[..., 0])
    np.testing.assert_array_equal(shown[:, :3, 5:, 0], image[..., 1])
    np.testing.assert_array_equal(shown[:, 3:, :5, 0], image[..., 2])
    np.testing.assert_array_equal(shown[:, 3:, 5:, 0], image[..., 3])
    assert plots.viewable(image[..., :3]).shape == (2, 3, 5, 3)
