"""Figures of no backend and no user's style, written whole.

Nothing here uses pyplot: it reads the user's backend, such as a notebook's, which need
not exist here, and setting another one would change the user's own figures. matplotlib
is imported only when a figure is drawn.
"""

import contextlib
import os
import pathlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from veegan_jax.common import errors, files

_drawing = threading.RLock()  # matplotlib's settings belong to the whole process


def check() -> None:
    """Import matplotlib, so that it cannot fail when there is something to draw.

    Raises:
      InputError: if it refuses the user's settings.
    """
    if "matplotlib" in sys.modules:
        return
    # A backend that is not installed here would end the import.
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    except (OSError, UnicodeError) as error:
        raise errors.InputError(
            f"matplotlib cannot read its settings ({error}): mend the file "
            "matplotlibrc, in this folder, $MATPLOTLIBRC or ~/.config/matplotlib"
        ) from error
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):  # the user hears of it from pyplot
            matplotlib.rcParams["backend"] = backend


@contextlib.contextmanager
def own_style() -> Iterator[None]:
    """Draw with matplotlib's own settings within the `with`, not with the user's.

    Those could change a figure, or need LaTeX. It also decorates a function.
    """
    with _drawing:
        check()
        import matplotlib.style

        with matplotlib.style.context("default"):
            yield


def new_figure(**options: Any) -> Any:
    """Return an empty figure that belongs to no backend and no window.

    Args:
      **options: of `matplotlib.figure.Figure`.
    """
    from matplotlib.backends import backend_agg
    from matplotlib.figure import Figure

    figure = Figure(**options)
    backend_agg.FigureCanvasAgg(figure)
    return figure


SUFFIXES = (".png", ".pdf", ".svg")


def one_line(name: str, most: int = 40) -> str:
    """Return a name that a user gave, short and without line breaks."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    end = most // 3
    return name if len(name) <= most else f"{name[: most - end - 3]}...{name[-end:]}"


def as_text(of: str) -> str:
    """Return a text as matplotlib shows it: no dollar starts a formula.

    Letters that the font has not become question marks.
    """
    from matplotlib import font_manager

    properties = font_manager.FontProperties()
    known = font_manager.get_font(font_manager.findfont(properties)).get_charmap()
    shown = "".join(c if c == "\n" or ord(c) in known else "?" for c in of)
    return shown.replace("$", r"\$")


def save(figure: Any, path: pathlib.Path, *, dpi: int) -> None:
    """Write a figure, never seen half written, in the format of its name.

    Raises:
      InputError: if the system refuses the write.
    """
    kind = path.suffix[1:].lower()
    with files.writing(path):
        files.save_atomically(
            path, lambda file: figure.savefig(file, format=kind, dpi=dpi)
        )
