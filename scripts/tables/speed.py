"""Tables of the benchmarks' records. No flags here."""

import pathlib
from typing import Any

from bench import ivom_table, scaling_estimate, scaling_table
from tables import common

from veegan_jax.common import records


def training(path: pathlib.Path) -> str:
    """Make the table of bench/training.py: methods and sizes, one seed and several."""
    if not path.exists():
        return common.EMPTY
    record = records.read(path)
    lines = [
        [
            common.LABELS[row["method"]],
            f"{row['preset']}, batch {row['batch_size']}",
            f"{row['seeds']}",
            f"{row['jax_median']:.4g}",
            f"{row['torch_median']:.4g}",
            "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["ratio_range"]),
            f"{100 * row['jax_of_peak']:.0f} %",
            f"{row['compile_seconds']:.0f}",
        ]
        for row in record["rows"]
    ]
    header = ["", "sizes", "seeds", "steps/s", "PyTorch's", "ratio (range)"]
    header += ["of matmul peak", "compile, s"]
    about = (
        f"`{record['command']}`, commit {record['commit'][:10]}, {record['device']}, "
        f"jax {record['versions']['jax']}, torch {record['torch']}, "
        f"{record['wall_seconds'] / 60:.0f} minutes; matmul peak "
        f"{record['peak_flops_per_second'] / 1e9:.0f} GFLOP/s; peak memory "
        f"{record['peak_memory_mib']['process']:.0f} MiB for both libraries."
    )
    return f"{records.table(header, lines)}\n\n{about}"


def images(path: pathlib.Path) -> str:
    """Make the tables of bench/images.py: training, sampling, scoring, convolutions."""
    if not path.exists():
        return common.EMPTY
    record = records.read(path)
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
                f"{row['preset']}, batch {row['batch_size']}",
                f"{row['seeds']}",
                f"{row['jax_images_per_second']:.4g}",
                f"{row['jax_median']:.4g}",
                *theirs,
                f"{row['compile_seconds']:.0f}",
            ]
        )
    header = ["", "sizes", "seeds", "images/s", "steps/s", "PyTorch's images/s"]
    parts = [records.table([*header, "ratio (range)", "compile, s"], lines)]
    names = {"draw": "samples drawn", "score": "samples scored"}
    lines = []
    for row in record["evaluation"]:
        size = f", {row['preset']}" if row["preset"] else ""
        lines.append([names[row["what"]] + size, f"{row['median']:.4g}"])
    parts.append(records.table(["", "images/s"], lines))
    for row in record["convolutions"]:
        parts.append(
            f"{common.LABELS[row['method']]}, {row['preset']}, one seed: "
            "{:.1f} ({:.1f} to {:.1f}) times the steps/s that XLA's own "
            "convolutions give.".format(row["ratio"], *row["ratio_range"])
        )
    torch = f"torch {record['torch']}, " if record["torch"] else ""
    parts.append(
        f"`{record['command']}`, commit {record['commit'][:10]}, {record['device']}, "
        f"jax {record['versions']['jax']}, {torch}"
        f"{record['wall_seconds'] / 60:.0f} minutes; peak memory "
        f"{record['peak_memory_mib']['process']:.0f} MiB."
    )
    return "\n\n".join(parts)


def pipeline(path: pathlib.Path) -> str:
    """Make the table of bench/pipeline.py: decoding, streams, step, whole loop."""
    if not path.exists():
        return common.EMPTY
    record = records.read(path)
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
    return ivom_table.table(records.read(path))


def scaling(folder: pathlib.Path) -> dict[str, str]:
    """Make two tables of bench/scaling.py: what it counted, and what it estimates."""
    paths = sorted(folder.glob("scaling*.json"))
    found = [records.read(path) for path in paths]
    rows = [row for record in found for row in record["rows"]]
    if not rows:
        return {"scaling": common.EMPTY, "scaling-256": common.EMPTY}
    repeat = "\n".join(map(_repeat, found))
    estimated = scaling_estimate.table(rows, found[0]["efficiency"])
    return {
        "scaling": f"{scaling_table.table(rows)}\n\n{repeat}",
        "scaling-256": estimated,
    }


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
        "speed-images": images(folder / "images.json"),
        "speed-ivom": ivom(folder / "ivom.json"),
        "speed-pipeline": pipeline(folder / "pipeline.json"),
        **scaling(folder),
    }
