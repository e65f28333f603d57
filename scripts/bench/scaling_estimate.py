"""Estimate the speed on 256 chips of a step that bench/scaling.py counted. No flags.

The estimate is arithmetic on published data of chips, not a measurement. With n chips,
b examples on each, F FLOPs per example, and a all-reduces of M bytes in all per step:

    compute  = b F / (efficiency * peak)
    exchange = a * hops * seconds per hop + sum of 2 (n - 1) / n * M share / bandwidth

A step takes at least the larger of the two. The gradients' all-reduce waits for the
whole backward pass, and the next step waits for the all-reduce, so a step takes about
their sum. The sum in `exchange` is over the levels of a network. A torus has one level;
GPUs have two: within 8 GPUs, then between the groups of 8, where each GPU sends an
eighth of the bytes. Weak-scaling efficiency is compute / (compute + exchange). The
efficiency of the products is assumed; where they do not reach it, compute takes longer,
and the exchange weighs less than stated here.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from veegan_jax.common import records

NUM_CHIPS = 256
FORMULA = __doc__[__doc__.index("    compute") : __doc__.index("A step takes")]


@dataclasses.dataclass(frozen=True)
class Chip:
    """Published data of 256 chips of one kind, and the assumptions beside them."""

    peak: float  # FLOP/s in bfloat16, without sparsity
    # Per level: chips side by side, bytes/s out of each, the share of the bytes.
    levels: tuple[tuple[int, float, float], ...]
    hops: int  # in sequence, in an all-reduce of few bytes
    hop_seconds: float
    source: str


BOOK = "jax-ml.github.io/scaling-book"
CHIPS = {
    "TPU v5e, 16 x 16": Chip(
        197e12,
        ((256, 200e9, 1),),
        32,
        1e-6,
        "cloud.google.com/tpu/docs/v5e: 197 TFLOP/s, 1,600 Gbit/s a chip, 2-D torus; "
        f"1 us a hop and the sum of the sides as hops: {BOOK}/sharding",
    ),
    "TPU v4, 4 x 8 x 8": Chip(
        275e12,
        ((256, 1.1e15 / 4096, 1),),
        20,
        1e-6,
        "cloud.google.com/tpu/docs/v4: 275 TFLOP/s, all-reduce bandwidth 1.1 PB/s in "
        f"4,096 chips; hops as above, {BOOK}/sharding",
    ),
    "H100, 32 x 8": Chip(
        989e12,
        ((8, 450e9, 1), (32, 50e9, 1 / 8)),
        16,
        5e-6,
        "nvidia.com/en-us/data-center/h100: NVLink 900 GB/s, half of it each way; "
        f"990 TFLOP/s and 400 Gbit/s of InfiniBand a GPU: {BOOK}/gpus; 2 log2(256) "
        "hops of a tree and 5 us a hop are assumed",
    ),
}


def exchange(chip: Chip, rounds: int, size: float) -> tuple[float, float]:
    """Estimate the seconds of all-reduces on 256 chips: for hops, and for bytes."""
    moved = sum(2 * (n - 1) / n * size * part / rate for n, rate, part in chip.levels)
    return rounds * chip.hops * chip.hop_seconds, moved


def estimate(row: dict[str, Any], chip: Chip, efficiency: float) -> dict[str, Any]:
    """Estimate one case on 256 chips of a kind; seconds, examples, shares."""
    most = row["strong"][-1]["operations"].get("all-reduce", (0, 0))
    hops, moved = exchange(chip, *most)
    example = row["flops_per_example"] / (efficiency * chip.peak)
    compute = example * row["batch_size"]
    return {
        "hop_seconds": hops,
        "byte_seconds": moved,
        "seconds_per_example": example,
        "batch_for_half": (hops + moved) / example,
        "batch_for_nine_tenths": 9 * (hops + moved) / example,
        "weak_efficiency": compute / (compute + hops + moved),
        "examples_per_second": NUM_CHIPS * row["batch_size"] / (compute + hops + moved),
    }


def table(rows: Sequence[dict[str, Any]], efficiency: float) -> str:
    """Add the estimates to the rows of pmap; return them as a table."""

    def micro(seconds):
        return f"{1e6 * seconds:,.1f}"

    lines = []
    for row in rows:
        if row["mode"] != "pmap" or row["strong"][-1]["devices"] == 1:
            continue
        row["estimates"] = {n: estimate(row, c, efficiency) for n, c in CHIPS.items()}
        for name, found in row["estimates"].items():
            hops, moved = found["hop_seconds"], found["byte_seconds"]
            lines.append(
                [
                    row["case"],
                    name,
                    micro(row["batch_size"] * found["seconds_per_example"]),
                    f"{micro(hops)} + {micro(moved)}",
                    "latency" if hops > moved else "bandwidth",
                    f"{100 * found['weak_efficiency']:.2g} % at {row['batch_size']}",
                    f"{found['batch_for_half']:,.0f}",
                    f"{found['batch_for_nine_tenths']:,.0f}",
                ]
            )
    header = ["case", "256 chips", "compute, us", "hops + bytes, us", "bound by"]
    header += ["efficiency, at batch per chip", "batch per chip for 50 %", "for 90 %"]
    return records.table(header, lines)
