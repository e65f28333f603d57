"""The record of a run: its results, and what is needed to repeat them."""

import functools
import json
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from veegan_jax.common import files, json_files


def commit() -> str:
    """Return the commit of this code; "" if no git repository tracks it."""
    return _git("rev-parse", "HEAD")


def changed_since(commit: str) -> list[str] | None:
    """List the files of the packages that differ from a commit's.

    Args:
      commit: of a record; "" if it has none.

    Returns:
      The files, those that are not committed too; None if git does not know the commit.
    """
    if not commit or _git("cat-file", "-t", commit) != "commit":
        return None
    packages = ":/veegan_jax", ":/lgan_jax"
    return _git("diff", "--name-only", commit, "--", *packages).splitlines()


def provenance() -> dict[str, Any]:
    """Return command, code and machine: what is needed to repeat a number.

    The commit is "", and `uncommitted_changes` None, if no git repository tracks this
    code. Changes in results/, which reproduce.py makes between two cells, do not count.
    """
    import flax
    import jaxlib
    import optax

    devices = jax.devices()
    on_cpu = devices[0].platform == "cpu"
    found = commit()
    changes = _git("status", "--porcelain", "--", ":/", ":(top,exclude)results")
    processor = _processor()
    kind = processor if on_cpu else devices[0].device_kind
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": found,
        "uncommitted_changes": bool(changes) if found else None,
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "flax": flax.__version__,
            "optax": optax.__version__,
        },
        "device": f"{len(devices)} x {devices[0].platform} ({kind})",
        "processor": processor,
    }


def read(path: pathlib.Path) -> dict[str, Any]:
    """Read a record that `write` wrote.

    Raises:
      InputError: if it cannot be read.
    """
    remedy = "make it again by the command that wrote it, or move it away"
    return json_files.read(path, remedy)


def write(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Write a record as JSON, whole or not at all."""
    text = json.dumps(record, indent=1, default=number)
    files.write_atomically(path, text + "\n")


def publish(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Write a record to results/, without the paths of this machine.

    The flags --workdir, --data_dir, --image_dir and --classifier are dropped from its
    command. An absolute path begins with its folder `runs`, or is its last name alone.
    """
    place = r"--?(workdir|data_dir|image_dir|classifier)"
    words, kept = shlex.split(record["command"]), []
    while words:
        word = words.pop(0)
        if re.fullmatch(place, word):
            words = words[1:]
        elif not re.match(f"{place}=", word):
            kept.append(_without_root(word))
    command = shlex.join(kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, record | {"command": command})


def _without_root(word: str) -> str:
    """Shorten an absolute path, or a flag's value that is one."""
    flag, equals, value = word.partition("=")
    if not equals or not flag.startswith("-"):
        flag, equals, value = "", "", word
    if not value.startswith("/"):
        return word
    parts = pathlib.PurePosixPath(value).parts
    first = max((i for i, part in enumerate(parts) if part == "runs"), default=-1)
    return flag + equals + "/".join(parts[first:])


def number(x: Any) -> Any:
    """Return a JSON value of 9 significant digits; NaN and infinity become null.

    So many digits hold a float32 exactly, and tables round but once.
    """
    x = np.asarray(x).item()
    if isinstance(x, float):
        return float(f"{x:.9g}") if np.isfinite(x) else None
    return x  # an integer, or None


def mean_and_std(values_S: Any) -> tuple[float | None, float | None]:
    """Return mean and standard deviation (n - 1) of a metric, both unrounded.

    Args:
      values_S: of each seed, or of each repetition.

    Returns:
      Both are None for no value, and if any is not finite. The standard deviation of
      one value is None.
    """
    values_S = np.asarray(values_S)
    if not len(values_S) or not np.isfinite(values_S).all():
        return None, None
    return float(values_S.mean()), std(values_S) if len(values_S) > 1 else None


def std(values_S: np.ndarray) -> float:
    """Return the standard deviation (n - 1): 0 for equal values, without rounding."""
    return float(values_S.std(ddof=1)) if np.ptp(values_S) else 0.0


def cell(mean: float | None, std: float | None = None) -> str:
    """Format a number with 4 digits and its spread with 2; "" if it is undefined.

    A number above has all the digits of its whole part: 10,000 modes are not 1e+04.
    """
    if mean is None or not np.isfinite(mean):
        return ""
    # A spread of 200 has 3 digits, else it would be 2e+02.
    spread = "" if std is None else f" ± {std:.{2 if std < 99.5 else 3}g}"
    return f"{mean:.0f}{spread}" if 9999.5 <= abs(mean) < 1e9 else f"{mean:.4g}{spread}"


def fixed(mean: float | None, std: float | None = None, decimals: int = 1) -> str:
    """Format a number and its spread with fixed decimals; "" if it is undefined."""
    spread = "" if std is None else f" ± {std:.{decimals}f}"
    return "" if mean is None else f"{mean:.{decimals}f}{spread}"


def why_empty(rows: Iterable[dict[str, Any]], reasons: dict[str, str]) -> str:
    """Say below a table why cells are empty: a line for each undefined metric.

    Args:
      rows: metric -> value or None, of every row.
      reasons: metric -> when it is undefined, a sentence.
    """
    rows = list(rows)
    told = [
        f"\n{name.replace('_', ' ')}: {reason}"
        for name, reason in reasons.items()
        if any(name in row and cell(row[name]) == "" for row in rows)
    ]
    return "\n" * bool(told) + "".join(told)


def _processor() -> str:
    """Return the processor's model, since another one rounds differently."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")  # Linux; elsewhere `platform` knows
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    """Return git's answer on the repository that tracks this file; "" if none does.

    The file may be installed inside a repository of the user's, which has another
    history, and in a hook of git's the environment names that one. In a container this
    checkout may belong to another user, which git refuses unless it is told the folder.
    """
    file = pathlib.Path(__file__).resolve()
    names = {n for n in os.environ if n[:4] != "GIT_" or n.startswith("GIT_CONFIG")}
    ask = functools.partial(
        subprocess.run,
        env={name: os.environ[name] for name in names},
        cwd=file.parent,
        check=True,
        capture_output=True,
        text=True,
        errors="replace",
    )
    git = ["git", "-c", f"safe.directory={file.parents[2]}"]
    try:
        ask([*git, "ls-files", "--error-unmatch", file.name])
        return ask([*git, *arguments]).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def table(header: list[str], rows: list[list[str]]) -> str:
    """Format a Markdown table with aligned columns."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * w for w in widths], *rows]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |"
        for r in lines
    )
