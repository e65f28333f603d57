"""The table of what bench/ivom.py measured. No flags: make_tables.py imports it."""

from typing import Any

from veegan_jax.common import records

NAMES = {"ours": "ours", "scipy": "SciPy's loop", "torch": "PyTorch's loop"}


def table(record: dict[str, Any]) -> str:
    """A record as Markdown: a line for each generator and way, and where it was run."""
    header = ["generator", "by", "images/s", "ours / theirs (range)"]
    header += ["evaluations per pair", "mean error", "ours equal", "ours lower"]
    lines = []
    for row in record["rows"]:
        for name, way in row["ways"].items():
            variant, against = way.get("variant"), ["", "", ""]
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
                    f"{way['median']:.3g}",
                    against[0],
                    f"{way['evaluations_per_pair']:.0f}",
                    records.cell(way["mean_error"]),
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
