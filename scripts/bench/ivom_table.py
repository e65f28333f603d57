"""The table of bench/ivom.py. No flags: make_tables.py imports it."""

from typing import Any

from veegan_jax.common import records

NAMES = {"ours": "ours", "scipy": "SciPy's loop", "torch": "PyTorch's loop"}


def table(record: dict[str, Any]) -> str:
    """Write a record as Markdown: a line for each generator and solver, and the run."""
    header = ["generator", "by", "images/s", "ours / theirs (range)"]
    header += ["evaluations per pair", "mean error", "ours equal", "ours lower"]
    lines = []
    for row in record["rows"]:
        for name, solver in row["solvers"].items():
            variant, against = solver.get("variant"), ["", "", ""]
            if name in row["against"]:
                found = row["against"][name]
                against = [
                    "{:.2f} ({:.2f} to {:.2f})".format(
                        found["ratio"], *found["ratio_range"]
                    ),
                    f"{found['equal']:.0%}",
                    f"{found['lower']:.0%}",
                ]
            lines.append(
                [
                    row["generator"],
                    NAMES[name] + (f" ({variant})" if variant else ""),
                    f"{solver['median']:.3g}",
                    against[0],
                    f"{solver['evaluations_per_pair']:.0f}",
                    records.cell(solver["mean_error"]),
                    *against[1:],
                ]
            )
    versions = record["versions"]
    torch = f"torch {record['torch']}, " if record["torch"] else ""
    about = (
        f"`{record['command']}`, commit {record['commit'][:10]}, {record['device']}, "
        f"jax {versions['jax']}, scipy {record['scipy']}, {torch}"
        f"{record['wall_seconds'] / 60:.0f} minutes."
    )
    return f"{records.table(header, lines)}\n\n{about}"
