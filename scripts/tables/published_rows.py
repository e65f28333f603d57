"""Tables of what papers state, each row with its source. No flags here."""

from collections.abc import Iterable, Sequence

from veegan_jax.common import records
from veegan_jax.metrics import published

_TITLES = {
    "ring": "ring (8)",
    "grid": "grid (25)",
    "high_dim": "1200-D (10)",
    "stacked_mnist": "three digits (1,000)",
    "stacked_mnist4": "four digits (10,000)",
    "cifar10": "CIFAR-10",
    "mnist": "MNIST",
}


def tables() -> dict[str, str]:
    """Make the tables "mixtures-published", "stacked_mnist-published" and so on."""
    return {
        "mixtures-published": table(published.MIXTURES, ("modes", "high_quality")),
        "stacked_mnist-published": table(
            published.STACKED_MNIST, ("modes", "kl_uniform")
        ),
        "cifar10-published": table(published.IVOM, ("ivom",)),
        "inference_mnist-published": table(
            published.INFERENCE, ("distance", "agreement")
        ),
    }


def table(rows: Sequence[published.Row], names: Sequence[str]) -> str:
    """Make a table of published rows, a column a data set, and list the protocols.

    Args:
      rows: those of one label and source become one line.
      names: the metrics of a cell.
    """
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        cell = " / ".join(_value(row, name) for name in names)
        lines.setdefault((row.source, row.label), {})[row.dataset] = cell
    header = ["published", "source", *(_TITLES[d] for d in datasets)]
    cells = [
        [label, source, *(found.get(d, "") for d in datasets)]
        for (source, label), found in lines.items()
    ]
    told = rows if len(names) > 1 else ()  # on single images a page says more
    return records.table(header, cells) + _protocols(row.source for row in told)


def _value(row: published.Row, name: str) -> str:
    value, error = row.metrics[name], row.error.get(name)
    return f"{value:g} ± {error:g}" if error else f"{value:g}"


def _protocols(sources: Iterable[str]) -> str:
    known = [s for s in dict.fromkeys(sources) if s in published.PROTOCOLS]
    lines = [f"- {source}: {published.PROTOCOLS[source]}." for source in known]
    return "\n".join(["", "", *lines]) if lines else ""
