"""Measure the speed of training and scoring on Stacked MNIST, against PyTorch.

    pip install -e '.[bench]'
    python scripts/bench/images.py
        Every method's step with the quarter-size networks, one seed, and four spread
        over the CPU cores; the GAN's at half and at full size, one seed. About 12
        minutes on two free cores, most of them compilation. Expect 0.8 of PyTorch's
        steps/s at the quarter and half sizes, and 0.6 at full size.
    python scripts/bench/images.py --presets=paper --nocompile
        The full DCGAN alone, in three minutes.
    python scripts/bench/images.py --seeds=1
        Without the rows of four seeds: about 9 minutes.
    python scripts/bench/images.py --all_sizes
        Every method, and the four seeds, at every size: for a GPU.
    python scripts/bench/images.py --tiny --repeats=1 --min_seconds=0
        Networks of a few channels, to try the program: its numbers mean nothing.

The GAN's step is timed against PyTorch's, in turns: eager, in both memory layouts, and
compiled in the faster layout where torch.compile works. The fastest counts; the record
holds all. torch_images.py first checks that each computes the JAX step. PyTorch's peer
leaves out D's gradient in the steps in which D stays as it is (every second one at
`paper`); the JAX step computes and discards it.

Steps/s count every seed's steps; images/s are steps/s times the batch size. Both are
medians over the repeats. PyTorch trains one seed at a time. JAX runs a compiled scan of
many steps, without its compilation. The images are random pixels, which take as long as
digits. Further rows are for drawing samples, for scoring them by the classifier, and,
on CPU, for the GAN's step with XLA's own convolutions instead of `networks.conv`'s.

Leave the cores free: PyTorch's threads spin while they wait for each other, and with
other work on the cores they are many times slower, which would flatter JAX.

The record goes to runs/speed/images.json; `make_tables.py --add=` keeps it.
"""

import contextlib
import functools
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import early  # noqa: F401
import images_scoring
import jax
import numpy as np
import timing
from absl import flags

from veegan_jax import methods
from veegan_jax.common import errors, records
from veegan_jax.common import flags as common_flags
from veegan_jax.config import Config
from veegan_jax.cost import flops as flop_counts
from veegan_jax.experiments import base
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, program

NAMES = ("gan", "ali", "unrolled", "pacgan", "veegan", "veegan_plus")
PRESETS = ("quarter", "half", "paper")  # all methods at the first, the GAN at each
NUM_DIGITS = 60_000  # as in MNIST's training set
# FLOPs: one or two seconds on two CPU cores. Each call also moves the state between
# devices, leaf by leaf, in some 0.05 to 0.1 s, as it does in training.
WORK_PER_CALL = 5e10

METHODS = flags.DEFINE_list("methods", list(NAMES), "what to measure")
SIZES = flags.DEFINE_list("presets", list(PRESETS), "at which sizes")
SEEDS = common_flags.define_number(
    "seeds",
    ["1", "4"],
    "how many at once in JAX, row by row; at half and paper only the first",
    within="[1, inf)",
)
ALL_SIZES = flags.DEFINE_bool("all_sizes", False, "all at every size")
REPEATS = common_flags.define_number(
    "repeats", 3, "measurements of each number", within="[1, inf)"
)
MIN_SECONDS = common_flags.define_number(
    "min_seconds", 1.0, "length of a measurement", within="[0, inf)"
)
OUTPUT = common_flags.define_path(
    "output",
    None,
    "where the record goes (default: runs/speed/images.json, with --tiny "
    "runs/speed/images_tiny.json)",
)
TORCH = flags.DEFINE_bool("torch", True, "compare with PyTorch")
COMPILE = flags.DEFINE_bool("compile", True, "try torch.compile")
TINY = flags.DEFINE_bool("tiny", False, "tiny networks, to try the program")


def cases(
    names: Sequence[str], presets: Sequence[str], *, all_sizes: bool, tiny: bool
) -> list[tuple[str, Config]]:
    """Make the configurations to measure, each with its preset's name.

    Raises:
      InputError: for a name that does not exist, or if nothing is left to measure.
    """
    timing.check_names("methods", names, NAMES)
    timing.check_names("presets", presets, PRESETS)
    found = []
    for preset in presets:
        changes, dataset = {}, "stacked_mnist"
        if tiny:
            dataset = "stacked_digits"
            changes = dict(batch_size=8, latent_size=6, reconstructor_widths=(4,))
            changes |= dict(discriminator_widths=(3, 4), num_stacks=0)
            changes["generator_widths"] = (6,) if preset == "paper" else (6, 5)
        for name in names:
            if preset == PRESETS[0] or name == "gan" or all_sizes:
                config = resolve.resolve(name, dataset, preset, **changes)
                found.append((preset, config))
    if not found:
        raise errors.InputError(
            f"--methods={','.join(names)} --presets={','.join(presets)}: nothing to "
            "measure; half and paper are for gan, or give --all_sizes"
        )
    return found


def random_digits(config: Config) -> np.ndarray:
    """Draw random pixels in place of digits: uint8 [N, H, W]."""
    height, width, _ = config.data.shape
    shape = NUM_DIGITS, height, width
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def steps_per_call(config: Config, digits_NHW: np.ndarray, most: int) -> int:
    """Estimate how many steps take one seed a second or two: even, at least 4."""
    if most <= 4:
        return 4
    step = functools.partial(
        stacked_mnist_experiment.step_on_stacks, axis_name=None, config=config
    )
    init = functools.partial(methods.get(config.method).init, config=config)
    state = jax.eval_shape(init, jax.random.key(0))
    digits = jax.ShapeDtypeStruct(digits_NHW.shape, digits_NHW.dtype)
    work = flop_counts.of_products(jax.jit(step).lower(digits, state).as_text())
    return max(4, min(most, 2 * int(WORK_PER_CALL / (2 * work))))


@contextlib.contextmanager
def xla_convolutions() -> Iterator[None]:
    """Make `networks.conv`, which chooses by the backend, use XLA's convolutions."""
    with mock.patch.object(jax, "default_backend", return_value="any but the CPU"):
        yield


def measure(
    preset: str,
    config: Config,
    digits_NHW: np.ndarray,
    *,
    repeats: int,
    min_seconds: float,
    seeds: Sequence[int],
    torch_device: str | None,
    compiled: bool = True,
    most_steps: int = 200,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Measure one configuration.

    Args:
      preset: what to call its sizes.
      config: what to train.
      digits_NHW: uint8, what is stacked.
      repeats: measurements of each number; JAX and PyTorch take turns.
      min_seconds: the least length of a measurement.
      seeds: how many at once in JAX, row by row.
      torch_device: where PyTorch trains the GAN; None: not at all.
      compiled: whether to try torch.compile.
      most_steps: of one call.

    Returns:
      A row for each number of seeds; and a row for the convolutions, on CPU for one
      seed of the GAN at the first preset. Lists hold the single measurements.

    Raises:
      given_noise.Mismatch: if the PyTorch step is not the JAX step.
    """
    num_steps = steps_per_call(config, digits_NHW, most_steps)
    every = base.init_seeds(range(max(seeds)), config)
    states = {n: jax.tree.map(lambda a, n=n: a[:n], every) for n in seeds}
    theirs, shared = {}, {}
    if torch_device and config.method == "gan":
        import torch_images

        theirs, shared["relative_error"], shared["torch_compile"] = (
            torch_images.variants(
                config,
                jax.tree.map(lambda a: a[0], every),
                torch_device,
                digits_NHW,
                min(num_steps, 20),
                compiled=compiled,
            )
        )
    step = functools.partial(stacked_mnist_experiment.step_on_stacks, config=config)
    ours, compile_seconds = {}, {}
    for count, state in states.items():
        steps = max(4, num_steps // count)
        ours[count], compile_seconds[count] = timing.jax_runner(
            step, state, steps, digits_NHW
        )
    native = {}
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and 1 in seeds and (config.method, preset) == ("gan", PRESETS[0]):
        with xla_convolutions():
            native["xla"], _ = timing.jax_runner(
                step, states[1], max(4, num_steps // 8), digits_NHW
            )
    rates = timing.rates(ours | theirs | native, repeats, min_seconds)
    about = {"method": config.method, "preset": preset, "batch_size": config.batch_size}
    rows = [
        {
            **about,
            "seeds": count,
            "compile_seconds": compile_seconds[count],
            "jax_steps_per_second": rates[count],
            "torch_steps_per_second_by_variant": {n: rates[n] for n in theirs},
            "peak_memory_so_far_mib": timing.memory(),
            **shared,
        }
        for count in seeds
    ]
    convolutions = [
        {
            **about,
            "seeds": 1,
            "ours_steps_per_second": rates[1],
            "xla_steps_per_second": rates[name],
            **timing.ratio(rates[1], rates[name]),
        }
        for name in native
    ]
    return rows, convolutions


def summarize(rows: list[dict[str, Any]]) -> str:
    """Add medians and ratio to the rows of `measure`; return them as a table."""
    header = ["method", "sizes", "seeds", "JAX images/s", "JAX steps/s"]
    header += ["PyTorch steps/s (variant)", "JAX / PyTorch", "compile s"]
    lines = []
    for row in rows:
        ours = row["jax_steps_per_second"]
        row["jax_median"] = statistics.median(ours)
        row["jax_images_per_second"] = row["jax_median"] * row["batch_size"]
        cells = ["", ""]
        by_variant = row["torch_steps_per_second_by_variant"]
        if by_variant:
            variant = timing.fastest(by_variant)
            theirs = by_variant[variant]
            row["torch_variant"] = variant
            row["torch_median"] = statistics.median(theirs)
            row["torch_images_per_second"] = row["torch_median"] * row["batch_size"]
            row |= timing.ratio(ours, theirs)
            cells = [
                f"{row['torch_median']:.4g} ({variant})",
                "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"], *row["ratio_range"]),
            ]
        lines.append(
            [
                row["method"],
                row["preset"],
                str(row["seeds"]),
                f"{row['jax_images_per_second']:.4g}",
                f"{row['jax_median']:.4g}",
                *cells,
                f"{row['compile_seconds']:.1f}",
            ]
        )
    return records.table(header, lines)


def main() -> None:
    tiny = TINY.value
    plan = cases(METHODS.value, SIZES.value, all_sizes=ALL_SIZES.value, tiny=tiny)
    default = f"runs/speed/images{'_tiny' if tiny else ''}.json"
    output = timing.output(OUTPUT.value, default)
    # JAX would take most of a GPU's memory, and PyTorch needs some of it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    distributed.use_cpu_cores(distributed.cpu_cores())
    start = time.perf_counter()
    device, version = timing.set_up_torch() if TORCH.value else (None, None)
    times = dict(repeats=REPEATS.value, min_seconds=MIN_SECONDS.value)
    digits_NHW = random_digits(plan[0][1])
    rows, convolutions = [], []
    seeds = [int(n) for n in SEEDS.value]
    for preset, config in plan:
        several = ALL_SIZES.value or preset == PRESETS[0]
        more = measure(
            preset,
            config,
            digits_NHW,
            seeds=seeds if several else seeds[:1],
            torch_device=device,
            compiled=COMPILE.value,
            most_steps=4 if tiny else 200,
            **times,
        )
        rows += more[0]
        convolutions += more[1]
        elapsed = time.perf_counter() - start
        compiling = more[0][0].get("torch_compile")
        note = f"; torch.compile: {compiling}" if compiling else ""
        print(f"{elapsed:4.0f} s: {config.method}, {preset}{note}", flush=True)
    scoring = images_scoring.measure(plan, 500 if tiny else 2000, **times)
    text = summarize(rows)
    record = {
        **timing.provenance(),
        "torch": version,
        **times,
        "tiny": tiny,
        "wall_seconds": time.perf_counter() - start,
        "peak_memory_mib": timing.memory(),
        "rows": rows,
        "evaluation": scoring,
        "convolutions": convolutions,
    }
    records.write(output, record)
    print(f"\n{text}\n")
    for row in scoring:
        of = f" ({row['preset']})" if row["preset"] else ""
        print(f"{row['what']}{of}: {row['median']:.4g} images/s")
    for row in convolutions:
        low, high = row["ratio_range"]
        print(
            f"our convolutions / XLA's, {row['method']} at {row['preset']}: "
            f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"
        )
    used = [f"{size:.0f} MiB of {kind}" for kind, size in timing.memory().items()]
    print(f"{record['device']}; peak memory: {', '.join(used)}\nrecord: {output}")


if __name__ == "__main__":
    program.run(main)
