"""Tables of the benchmarks' records. No flags here."""

import pathlib
import statistics
from typing import Any

from bench import growth_table, ivom_table, scaling_estimate, scaling_table
from tables import checks, common, rivals

from veegan_jax.common import errors, records

_REPEAT = common.REPEAT | {"wall_seconds": checks.NUMBER}
_VERSIONS = {"versions": {"jax": checks.TEXT}}
_MEMORY = {"peak_memory_mib": {"process": checks.NUMBER}}
_SIZES = {
    "method": common.METHOD,
    "preset": checks.TEXT,
    "batch_size": checks.COUNT,
    "seeds": checks.COUNT,
}
_RATIO = {"ratio": checks.NUMBER, "ratio_range": (checks.NUMBER, checks.NUMBER)}
_RIVALS = {
    "against?": {"*": _RATIO},
    "precision?": checks.TEXT,
    "torch_variant?": checks.TEXT,
    "torch_compile?": checks.TEXT,
}
_SOLVER = {
    "median": checks.NUMBER,
    "evaluations_per_pair": checks.NUMBER,
    "mean_error": checks.METRIC,
    "variant?": checks.OrNull(checks.TEXT),
}
_AGAINST = _RATIO | {"equal": checks.NUMBER, "lower": checks.NUMBER}
_COUNTED = {  # by bench/scaling.py, of one number of devices
    "devices": checks.COUNT,
    "flops": checks.NUMBER,
    "operations": {"*": (checks.NUMBER, checks.NUMBER)},
}
_GROWN = {  # by bench/growth.py, at one place of an axis
    **dict.fromkeys(growth_table.AXES, checks.POSITIVE),
    **dict.fromkeys(("median", "program_mib"), checks.POSITIVE),
    "peak_memory_mib": {"process": checks.POSITIVE},
}
# These may have several records, STEM*.json.
SEVERAL = ("scaling", "growth", "training")
OTHER = {"xla": "XLA's own", "patches": "matrix products in place of"}
EVALUATION = {"draw": "samples drawn", "score": "samples scored"}

# Benchmark -> the form of its record.
FORMS = {
    "training": {
        **_REPEAT,
        **_VERSIONS,
        **_MEMORY,
        "torch": checks.TEXT,
        "peak_flops_per_second": checks.NUMBER,
        "rows": [
            {
                **_SIZES,
                **_RATIO,
                **_RIVALS,
                "jax_median": checks.NUMBER,
                "torch_median": checks.NUMBER,
                "jax_of_peak": checks.NUMBER,
                "compile_seconds": checks.NUMBER,
            }
        ],
    },
    "images": {
        **_REPEAT,
        **_VERSIONS,
        **_MEMORY,
        "torch": checks.OrNull(checks.TEXT),
        "rows": [
            {
                **_SIZES,
                **{f"{name}?": form for name, form in _RATIO.items()},
                **_RIVALS,
                "jax_images_per_second": checks.NUMBER,
                "jax_median": checks.NUMBER,
                "torch_images_per_second?": checks.NUMBER,
                "compile_seconds": checks.NUMBER,
            }
        ],
        "evaluation": [
            {
                "what": checks.one_of(EVALUATION),
                "preset": checks.OrNull(checks.TEXT),
                "median": checks.NUMBER,
            }
        ],
        "convolutions": [
            {
                "method": common.METHOD,
                "preset": checks.TEXT,
                "seeds?": checks.COUNT,
                "other?": checks.one_of(("xla", "patches")),
                **_RATIO,
            },
        ],
    },
    "pipeline": {
        **_REPEAT,
        **_SIZES,
        "image_size": checks.COUNT,
        "num_workers": checks.COUNT,
        "median": {"*": checks.NUMBER},
        "loops": {
            "*": {"median": checks.NUMBER, "median_waiting_share": checks.NUMBER}
        },
        "stream_over_step": _RATIO,
    },
    "ivom": {
        **_REPEAT,
        **_VERSIONS,
        "scipy": checks.TEXT,
        "torch": checks.OrNull(checks.TEXT),
        "rows": [
            {
                "generator": checks.TEXT,
                "solvers": {f"{name}?": _SOLVER for name in ivom_table.NAMES}
                | {"*": checks.NOTHING},
                "against": {"*": _AGAINST},
            }
        ],
    },
    "coverage": {
        **_REPEAT,
        **_MEMORY,
        "rows": [
            {
                "examples": checks.COUNT,
                "width": checks.COUNT,
                "ours": [checks.POSITIVE],
                **{f"{name}?": form for name, form in _RATIO.items()},
                "public?": [checks.POSITIVE],
                "apart?": checks.NUMBER,
            }
        ],
    },
    "methods": {
        **_REPEAT,
        "rows": [
            {
                "dataset": checks.TEXT,
                "method": common.METHOD,
                "median": checks.POSITIVE,
                "cost?": _RATIO,
            }
        ],
    },
    "startup": {
        **_REPEAT,
        **_VERSIONS,
        "rows": [
            {
                "command": checks.TEXT,
                "start": checks.TEXT,
                "median": checks.NUMBER,
                "range": (checks.NUMBER, checks.NUMBER),
                "first_step_median?": checks.NUMBER,
                "first_step_range?": (checks.NUMBER, checks.NUMBER),
            }
        ],
    },
    "scaling": {
        **_REPEAT,
        "efficiency": checks.POSITIVE,
        "rows": [
            {
                "case": checks.TEXT,
                "mode": checks.TEXT,
                "batch_size": checks.COUNT,
                "batch_norm": checks.FLAG,
                "flops_per_example": checks.POSITIVE,
                "strong": [_COUNTED],
                "weak": [_COUNTED],
            }
        ],
    },
    "growth": {
        **_REPEAT,
        "rows": [
            {
                "case": checks.one_of(growth_table.LABELS),
                "axis": checks.one_of(growth_table.AXES),
                "points": [_GROWN],
            }
        ],
    },
}


def read(path: pathlib.Path) -> dict[str, Any]:
    """Read a benchmark's record, which its file's name is of.

    Raises:
      InputError: naming the file, the field and what it must be.
    """
    return checks.read(path, FORMS[_benchmark(path)])


def _benchmark(path: pathlib.Path) -> str:
    """Return the benchmark that a record's name is of; "" for none."""
    names = [stem for stem in SEVERAL if path.stem.startswith(stem)] or [path.stem]
    return names[0] if names[0] in FORMS else ""


def collect(path: pathlib.Path, results: pathlib.Path) -> common.Copy:
    """Read a benchmark's record.

    Raises:
      InputError: naming the file, and what it must be.
    """
    if not _benchmark(path):
        names = ", ".join(f"{name}.json" for name in FORMS)
        raise errors.InputError(
            f"--add={path}: no table shows it; give the folder of a run, a record of "
            f"eval_stacked_mnist.py, or one of a benchmark, named {names}"
        )
    return common.Copy(path, results / "speed" / path.name, read(path))


def training(path: pathlib.Path) -> str:
    """Make the table of bench/training.py: methods and sizes, one seed and several."""
    if not path.exists():
        return common.EMPTY
    record = read(path)
    names = rivals.names(record["rows"])
    lines = []
    for row in record["rows"]:
        variant = f" ({row['torch_variant']})" if "torch_variant" in row else ""
        lines.append(
            [
                common.LABELS[row["method"]],
                rivals.sizes(row),
                f"{row['seeds']}",
                f"{row['jax_median']:.4g}",
                f"{row['torch_median']:.4g}{variant}",
                "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["ratio_range"]),
                *rivals.over(row, names),
                f"{100 * row['jax_of_peak']:.0f} %",
                f"{row['compile_seconds']:.0f}",
            ]
        )
    header = ["", "sizes", "seeds", "steps/s", "PyTorch's", "ratio (range)"]
    header += [
        *(rivals.AGAINST[name] for name in names),
        "of matmul peak",
        "compile, s",
    ]
    about = (
        f"`{record['command']}`, commit {record['commit'][:10]}, {record['device']}, "
        f"jax {record['versions']['jax']}, torch {record['torch']}, "
        f"{record['wall_seconds'] / 60:.0f} minutes; matmul peak "
        f"{record['peak_flops_per_second'] / 1e9:.0f} GFLOP/s; peak memory "
        f"{record['peak_memory_mib']['process']:.0f} MiB for both libraries."
    )
    about += rivals.not_compiled(record["rows"])
    return f"{records.table(header, lines)}\n\n{about}"


def images(path: pathlib.Path) -> str:
    """Make the tables of bench/images.py: training, sampling, scoring, convolutions."""
    if not path.exists():
        return common.EMPTY
    record = read(path)
    names = rivals.names(record["rows"])
    lines = []
    for row in record["rows"]:
        theirs = ["", ""]
        if "ratio" in row:
            theirs = [
                f"{row['torch_images_per_second']:.4g} ({row['torch_variant']})",
                "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["ratio_range"]),
            ]
        lines.append(
            [
                common.LABELS[row["method"]],
                rivals.sizes(row),
                f"{row['seeds']}",
                f"{row['jax_images_per_second']:.4g}",
                f"{row['jax_median']:.4g}",
                *theirs,
                *rivals.over(row, names),
                f"{row['compile_seconds']:.0f}",
            ]
        )
    header = ["", "sizes", "seeds", "images/s", "steps/s", "PyTorch's images/s"]
    header += ["ratio (range)", *(rivals.AGAINST[name] for name in names), "compile, s"]
    parts = [records.table(header, lines)]
    lines = []
    for row in record["evaluation"]:
        size = f", {row['preset']}" if row["preset"] else ""
        lines.append([EVALUATION[row["what"]] + size, f"{row['median']:.4g}"])
    parts.append(records.table(["", "images/s"], lines))
    for row in record["convolutions"]:
        parts.append(
            f"{common.LABELS[row['method']]}, {row['preset']}, "
            f"{rivals.seeds(row)}: "
            "{:.1f} ({:.1f} to {:.1f}) times the steps/s that ".format(
                row["ratio"], *row["ratio_range"]
            )
            + f"{OTHER[row.get('other', 'xla')]} convolutions give."
        )
    torch = f"torch {record['torch']}, " if record["torch"] else ""
    parts.append(
        f"`{record['command']}`, commit {record['commit'][:10]}, {record['device']}, "
        f"jax {record['versions']['jax']}, {torch}"
        f"{record['wall_seconds'] / 60:.0f} minutes; peak memory "
        f"{record['peak_memory_mib']['process']:.0f} MiB."
        f"{rivals.not_compiled(record['rows'])}"
    )
    return "\n\n".join(parts)


def pipeline(path: pathlib.Path) -> str:
    """Make the table of bench/pipeline.py: decoding, streams, step, whole loop."""
    if not path.exists():
        return common.EMPTY
    record = read(path)
    lines = [[name, f"{rate:.4g}", ""] for name, rate in record["median"].items()]
    lines += [
        [
            f"training, {kind}",
            f"{found['median']:.4g}",
            f"{found['median_waiting_share']:.1%}",
        ]
        for kind, found in record["loops"].items()
    ]
    low, high = record["stream_over_step"]["ratio_range"]
    about = (
        f"{common.LABELS[record['method']]} at {record['preset']}, batches of "
        f"{record['batch_size']}, JPEGs of 178 x 218 pixels to "
        f"{record['image_size']} x {record['image_size']}; "
        f"{record['num_workers']} workers decode "
        f"{record['stream_over_step']['ratio']:.1f} ({low:.1f} to {high:.1f}) times as "
        "many images a second as the step takes. "
    )
    table = records.table(["", "images/s", "device waits"], lines)
    return f"{table}\n\n{about}{_repeat(record)}"


def ivom(path: pathlib.Path) -> str:
    """Make the table of bench/ivom.py: IvOM by this library and by loops."""
    if not path.exists():
        return common.EMPTY
    return ivom_table.table(read(path))


def coverage(path: pathlib.Path) -> str:
    """Make the table of bench/coverage.py: seconds beside the public implementation."""
    if not path.exists():
        return common.EMPTY
    record = read(path)
    lines = []
    for row in record["rows"]:
        theirs = ["", ""]
        if "ratio" in row:
            theirs = [
                f"{statistics.median(row['public']):.3g}",
                "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["ratio_range"]),
            ]
        seconds = f"{statistics.median(row['ours']):.3g}"
        lines.append([f"{row['examples']:,} x {row['width']}", seconds, *theirs])
    header = ["features of either set", "ours, s", "public, s", "public / ours (range)"]
    memory = f" Peak memory {record['peak_memory_mib']['process']:.0f} MiB."
    return f"{records.table(header, lines)}\n\n{_repeat(record)}{memory}"


def startup(path: pathlib.Path) -> str:
    """Make the table of bench/startup.py: from a command to its first step and end."""
    if not path.exists():
        return common.EMPTY
    record = read(path)
    lines = []
    for row in record["rows"]:
        cells = [
            "{:.1f} ({:.1f} to {:.1f})".format(row[median], *row[span])
            if median in row
            else ""
            for median, span in (
                ("first_step_median", "first_step_range"),
                ("median", "range"),
            )
        ]
        lines.append([f"`{row['command']}`", row["start"], *cells])
    header = ["", "start", "first step, s (range)", "end, s (range)"]
    return f"{records.table(header, lines)}\n\n{_repeat(record)}"


def scaling(folder: pathlib.Path) -> dict[str, str]:
    """Make two tables of bench/scaling.py: what it counted, and what it estimates."""
    paths = sorted(folder.glob("scaling*.json"))
    found = [read(path) for path in paths]
    rows = [row for record in found for row in record["rows"]]
    if not rows:
        return {"scaling": common.EMPTY, "scaling-256": common.EMPTY}
    repeat = "\n".join(map(_repeat, found))
    estimated = scaling_estimate.table(rows, found[0]["efficiency"])
    return {
        "scaling": f"{scaling_table.table(rows)}\n\n{repeat}",
        "scaling-256": estimated,
    }


def growth(folder: pathlib.Path, figures: pathlib.Path) -> str:
    """Make the table of bench/growth.py, and draw its figures."""
    found = [read(path) for path in sorted(folder.glob("growth*.json"))]
    if not found:
        return common.EMPTY
    rows = [row for record in found for row in record["rows"]]
    order = list(growth_table.AXES)
    rows.sort(key=lambda row: order.index(row["axis"]))
    growth_table.draw_all(rows, figures)
    return "\n\n".join([growth_table.table(rows), *map(_repeat, found)])


def _repeat(record: dict[str, Any]) -> str:
    return (
        f"`{record['command']}`, commit {record['commit'][:10]}, {record['device']}, "
        f"{record['wall_seconds'] / 60:.0f} minutes."
    )


def tables(results: pathlib.Path) -> dict[str, str]:
    """Make all of them by name.

    Args:
      results: the folder of the records.
    """
    folder = results / "speed"
    return {
        "speed-training": training(folder / "training.json"),
        "speed-training-rivals": training(folder / "training-rivals.json"),
        "speed-coverage": coverage(folder / "coverage.json"),
        "speed-images": images(folder / "images.json"),
        "speed-ivom": ivom(folder / "ivom.json"),
        "speed-pipeline": pipeline(folder / "pipeline.json"),
        "speed-growth": growth(folder, results / "figures"),
        "speed-startup": startup(folder / "startup.json"),
        **scaling(folder),
    }
