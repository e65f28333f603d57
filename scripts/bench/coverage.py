"""Measure precision, recall, density and coverage against the public implementation.

    pip install -e '.[bench]'
    python scripts/bench/coverage.py
        5,000 and 10,000 features of 64 numbers against the package `prdc`, by the
        authors of density and coverage; then 50,000 of ours alone, since the public
        code holds matrices of all distances: 20 GB each. Some three minutes on two
        free cores.
    python scripts/bench/coverage.py --sizes=2000 --alone=0
        Seconds, to try the program.

Both compute all four numbers of the same features, in turns, and must agree to
rounding. The record goes to runs/speed/coverage.json.
"""

import contextlib
import io
import time
from typing import Any

import early  # noqa: F401
import numpy as np
import timing

from veegan_jax.common import errors, records
from veegan_jax.common import flags as common_flags
from veegan_jax.metrics import coverage
from veegan_jax.runtime import distributed, program

SIZES = common_flags.define_number(
    "sizes", ["5000", "10000"], "examples and samples, of both", within="[10, 20000]"
)
ALONE = common_flags.define_number(
    "alone", 50_000, "of ours alone; 0: none", within="[0, 10**6]"
)
WIDTH = common_flags.define_number(
    "width", 64, "numbers a feature", within="[1, 10**4]"
)
REPEATS = common_flags.define_number("repeats", 3, "turns", within="[1, inf)")
NEIGHBOURS = common_flags.define_number("neighbours", 5, "k", within="[1, 1000]")
OUTPUT = common_flags.define_path(
    "output", None, "where the record goes (default: runs/speed/coverage.json)"
)


def features(num: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return real features and generated ones that miss half of the space: [N, F]."""
    random = np.random.default_rng(0)
    real_NF, fake_NF = random.normal(size=(2, num, width)).astype(np.float32)
    fake_NF[:, 0] = np.abs(fake_NF[:, 0])
    return real_NF, fake_NF


def theirs(real_NF: np.ndarray, fake_NF: np.ndarray) -> dict[str, float]:
    """Compute the measures by the public implementation."""
    import prdc

    with contextlib.redirect_stdout(io.StringIO()):  # it prints the sizes
        return prdc.compute_prdc(real_NF, fake_NF, NEIGHBOURS.value)


def ours(real_NF: np.ndarray, fake_NF: np.ndarray) -> dict[str, float]:
    """Compute the measures by `veegan_jax.metrics.coverage`."""
    found = coverage.evaluate(real_NF, fake_NF, NEIGHBOURS.value)
    return {name: one.value for name, one in found.items()}


def row(num: int, width: int, repeats: int) -> dict[str, Any]:
    """Time both on the same features, in turns.

    Raises:
      InputError: if they disagree.
    """
    data = features(num, width)
    mine, public = ours(*data), theirs(*data)  # the first call compiles
    apart = max(abs(mine[name] - public[name]) for name in coverage.METRICS)
    if apart > 2 / num**0.5:
        raise errors.InputError(f"ours {mine} and the public {public} disagree")
    seconds = {"ours": [], "public": []}
    for _ in range(repeats):
        seconds["ours"].append(timing.seconds(lambda: ours(*data)))
        seconds["public"].append(timing.seconds(lambda: theirs(*data)))
    ratio = timing.ratio(seconds["public"], seconds["ours"])
    return {"examples": num, "width": width, "apart": apart, **seconds, **ratio}


def main() -> None:
    output = timing.output(OUTPUT.value, "runs/speed/coverage.json")
    distributed.use_cpu_cores(distributed.cpu_cores())
    start = time.perf_counter()
    rows = [row(num, WIDTH.value, REPEATS.value) for num in map(int, SIZES.value)]
    if ALONE.value:
        data = features(ALONE.value, WIDTH.value)
        taken = timing.seconds(lambda: ours(*data))
        rows.append({"examples": ALONE.value, "width": WIDTH.value, "ours": [taken]})
    lines = [
        [
            f"{one['examples']}",
            f"{np.median(one['ours']):.2f}",
            f"{np.median(one['public']):.2f}" if "public" in one else "",
            f"{one['ratio']:.2f}" if "ratio" in one else "",
            f"{one['apart']:.1g}" if "apart" in one else "",
        ]
        for one in rows
    ]
    header = ["examples", "ours, s", "public, s", "public / ours", "largest difference"]
    print(f"{records.table(header, lines)}\n\nrecord: {output}")
    about = {"peak_memory_mib": timing.memory(), "rows": rows}
    wall = time.perf_counter() - start
    records.write(output, {**timing.provenance(), "wall_seconds": wall, **about})


if __name__ == "__main__":
    program.run(main)
