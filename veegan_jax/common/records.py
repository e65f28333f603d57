"""What a run leaves behind: metrics over time, and one record to repeat it by."""

import json
import pathlib
import platform
import re
import shlex
import subprocess
import sys
from typing import Any

import jax
import numpy as np

from veegan_jax.common import checkpoint


class MetricsLog:
    """Metrics over time, as JSON lines and as TensorBoard events.

    Args:
      workdir: where `metrics.jsonl` and the event files go.
      resume_step: lines of later steps are dropped: the run computes them again.
    """

    def __init__(self, workdir: pathlib.Path, resume_step: int) -> None:
        from tensorboardX import SummaryWriter  # slow to import; only runs need it

        self._path = workdir / "metrics.jsonl"
        kept = [r for r in read_metrics(workdir) if r["step"] <= resume_step]
        text = "".join(json.dumps(r) + "\n" for r in kept)
        checkpoint.write_atomically(self._path, text)
        self._events = SummaryWriter(str(workdir), purge_step=resume_step + 1)

    def write(self, step: int, seconds: float, figures: dict[str, np.ndarray]) -> None:
        """Appends one line: each figure is a list over the seeds."""
        values = {k: [number(x) for x in v] for k, v in figures.items()}
        line = json.dumps({"step": step, "seconds": round(seconds, 3), **values})
        with self._path.open("a") as file:
            file.write(line + "\n")
        for name, value_S in figures.items():
            for seed, value in enumerate(value_S):
                if not np.isfinite(value):
                    continue  # e.g. the spread inside modes when none is captured
                self._events.add_scalar(f"{name}/seed_{seed}", value, step)

    def close(self) -> None:
        self._events.close()


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line cut short by a kill is left out."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def commit() -> str:
    """Of the code that runs; "" if it was installed from a package."""
    return _git("rev-parse", "HEAD")


def provenance() -> dict[str, Any]:
    """Command, code and machine: what is needed to repeat a figure."""
    import flax
    import optax

    devices = jax.devices()
    on_cpu = devices[0].platform == "cpu"
    kind = _processor() if on_cpu else devices[0].device_kind
    return {
        "command": shlex.join(["python", *sys.argv]),
        "commit": commit(),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
            "optax": optax.__version__,
        },
        "device": f"{len(devices)} x {devices[0].platform} ({kind})",
    }


def write(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Writes a record as JSON, whole or not at all."""
    text = json.dumps(record, indent=1, default=number)
    checkpoint.write_atomically(path, text + "\n")


def publish(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Writes a record to where results are kept; places on the disk are no part of it.

    They are the flags --workdir, --data_dir, --image_dir and --classifier of its
    command.
    """
    place = r"--?(workdir|data_dir|image_dir|classifier)"
    words, kept = shlex.split(record["command"]), []
    while words:
        word = words.pop(0)
        if re.fullmatch(place, word):
            words = words[1:]
        elif not re.match(f"{place}=", word):
            kept.append(word)
    command = shlex.join(kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, record | {"command": command})


def number(x: Any) -> Any:
    """A JSON value of 5 significant digits; NaN and infinity become null."""
    x = np.asarray(x).item()
    if isinstance(x, float):
        return float(f"{x:.5g}") if np.isfinite(x) else None
    return x


def cell(mean: float | None, std: float | None = None) -> str:
    """A figure for a table, 4 digits, and its spread, 2; "" if there is none."""
    if mean is None:
        return ""
    # Never 2e+02 for a spread of 200.
    spread = "" if std is None else f" ± {std:.{2 if std < 99.5 else 3}g}"
    return f"{mean:.4g}{spread}"


def _processor() -> str:
    """The processor's model: another one rounds otherwise."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")  # Linux; elsewhere `platform` knows
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    here = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""  # installed from a package: there is no commit to name
    return done.stdout.strip()


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * w for w in widths], *rows]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)) + " |"
        for r in lines
    )
