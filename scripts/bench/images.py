"""Measure the speed of training and scoring on Stacked MNIST, against rivals.

    pip install -e '.[bench]'
    python scripts/bench/images.py
        Every method's step with the quarter-size networks, one seed, and four spread
        over the CPU cores; the GAN's at half and at full size, one seed. About 14
        minutes on two free cores, most of them compilation. Expect 0.9 to 1 of the
        steps/s of compiled PyTorch at the quarter and half sizes, 1.1 at full size.
    python scripts/bench/images.py --presets=paper --nocompile
        The full DCGAN alone, in three minutes.
    python scripts/bench/images.py --seeds=1
        Without the rows of four seeds: about 9 minutes.
    python scripts/bench/images.py --all_sizes --seeds=1,5 --precision=float32,tf32
        Every method, both kinds of convolutions, and the five seeds, at every size: for
        a GPU. Precisions: see precisions.py.
    python scripts/bench/images.py --tiny --repeats=1 --min_seconds=0
        Networks of a few channels, to try the program: its numbers mean nothing.

The GAN's step is timed against PyTorch's, in turns: eager, in both memory layouts and
on CPU with one thread and all, and the fastest of these also compiled, where
torch.compile works. The fastest counts; the record holds all; one that is clearly
slower leaves after two turns. At the first size there are also the public JAX way
(flax_peers.py), our own step called from Python a step at a time, and our scan with the
convolutions that `networks.conv` has for the other kind of device: XLA's own on CPU.
Each peer is first checked to compute our step. PyTorch's and flax's leave out D's
gradient in the steps in which D stays as it is (every second one at `paper`).

Steps/s count every seed's steps; images/s are steps/s times the batch size. Both are
medians over the repeats. PyTorch and flax train one seed at a time. JAX runs a compiled
scan of many steps, without its compilation. The images are random pixels, which take as
long as digits. Further rows are for drawing samples and scoring them.

Leave the cores free: PyTorch's threads spin while they wait for each other, and with
other work on the cores they are many times slower, which would flatter JAX.

The record goes to runs/speed/images.json; `make_tables.py --add=` keeps it.
"""

import contextlib
import functools
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import early  # noqa: F401
import flax_peers
import images_scoring
import jax
import numpy as np
import precisions
import summaries
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
PRECISION = flags.DEFINE_list(
    "precision",
    [],
    "of products, and bfloat16 of activations: float32, tf32, bfloat16 (default: "
    "float32 on CPU, which is all it has, tf32 elsewhere)",
)
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
def other_convolutions() -> Iterator[None]:
    """Give `networks.conv`, which chooses by the backend, the other kind's choice."""
    other = "gpu" if jax.default_backend() == "cpu" else "cpu"
    with mock.patch.object(jax, "default_backend", return_value=other):
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
    precision: str = "float32",
    most_steps: int = 200,
    everything: bool = False,
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
      precision: of products, and of activations; see precisions.py.
      most_steps: of one call.
      everything: flax, and the other kind of convolutions, also at other presets than
        the first and for all numbers of seeds.

    Returns:
      A row for each number of seeds, and rows that compare convolutions. Lists hold the
      single measurements.

    Raises:
      given_noise.Mismatch: if a peer's step is not ours.
    """
    num_steps = steps_per_call(config, digits_NHW, most_steps)
    every = base.init_seeds(range(max(seeds)), config)
    states = {n: jax.tree.map(lambda a, n=n: a[:n], every) for n in seeds}
    first = jax.tree.map(lambda a: a[0], every)
    theirs, about = {}, {"method": config.method, "preset": preset}
    about |= {"batch_size": config.batch_size, "precision": precision}
    if torch_device and config.method == "gan":
        import torch_image_variants

        theirs, about["relative_error"], about["torch_compile"] = (
            torch_image_variants.make(
                config,
                first,
                torch_device,
                digits_NHW,
                min(num_steps, 20),
                compiled=compiled,
            )
        )
        theirs = {
            name: precisions.of_torch(precision, torch_device, runner)
            for name, runner in theirs.items()
        }
    inner = precisions.config_in(config, precision)
    step = functools.partial(stacked_mnist_experiment.step_on_stacks, config=inner)
    ours, other, compile_seconds = {}, {}, {}
    compared = config.method == "gan" and (everything or preset == PRESETS[0])
    with precisions.products(config, precision):
        for count, state in states.items():
            steps = max(4, num_steps // count)
            ours[count], compile_seconds[count] = timing.jax_runner(
                step, state, steps, digits_NHW
            )
        for count in seeds if everything else {1} & set(seeds):
            if compared:
                with other_convolutions():
                    other["other", count], _ = timing.jax_runner(
                        step, states[count], max(4, num_steps // 8), digits_NHW
                    )
        if compared:
            few = min(num_steps, 20)
            ours["a step a call"] = timing.step_runner(step, first, few, digits_NHW)
            if precision != "bfloat16":  # it is written in float32
                flax_peers.check(config, first, digits_NHW, warm_up=10)
                ours["flax"] = flax_peers.runner(
                    config, first, max(4, num_steps // 8), digits_NHW
                )
    ours = {
        name: precisions.of_jax(config, precision, runner)
        for name, runner in (ours | other).items()
    }
    rates = timing.rates(ours | theirs, repeats, min_seconds, rivals=theirs)
    about["torch_steps_per_second_by_variant"] = {n: rates[n] for n in theirs}
    about["peak_memory_so_far_mib"] = timing.memory()
    rows = summaries.rows(about, rates, list(seeds))
    for row in rows:
        row["compile_seconds"] = compile_seconds[row["seeds"]]
    name = "xla" if jax.default_backend() == "cpu" else "patches"
    convolutions = [
        {
            **{n: about[n] for n in ("method", "preset", "batch_size", "precision")},
            "seeds": count,
            "other": name,
            "ours_steps_per_second": rates[count],
            f"{name}_steps_per_second": rates["other", count],
            **timing.ratio(rates[count], rates["other", count]),
        }
        for _, count in other
    ]
    return rows, convolutions


def main() -> None:
    tiny = TINY.value
    plan = cases(METHODS.value, SIZES.value, all_sizes=ALL_SIZES.value, tiny=tiny)
    default = f"runs/speed/images{'_tiny' if tiny else ''}.json"
    # JAX would take most of a GPU's memory, and PyTorch needs some of it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    distributed.use_cpu_cores(distributed.cpu_cores())
    chosen = precisions.chosen(PRECISION.value, tiny=tiny)
    output = timing.output(OUTPUT.value, default)
    start = time.perf_counter()
    device, version = timing.set_up_torch() if TORCH.value else (None, None)
    times = dict(repeats=REPEATS.value, min_seconds=MIN_SECONDS.value)
    digits_NHW = random_digits(plan[0][1])
    rows, convolutions = [], []
    seeds = [int(n) for n in SEEDS.value]
    for (preset, config), precision in itertools.product(plan, chosen):
        several = ALL_SIZES.value or preset == PRESETS[0]
        more = measure(
            preset,
            config,
            digits_NHW,
            seeds=seeds if several else seeds[:1],
            torch_device=device,
            compiled=COMPILE.value,
            precision=precision,
            most_steps=4 if tiny else 200,
            everything=ALL_SIZES.value,
            **times,
        )
        rows += more[0]
        convolutions += more[1]
        elapsed = time.perf_counter() - start
        compiling = more[0][0].get("torch_compile")
        note = f"; torch.compile: {compiling}" if compiling else ""
        print(f"{elapsed:4.0f} s: {config.method}, {preset}{note}", flush=True)
    scoring = images_scoring.measure(plan, 500 if tiny else 2000, **times)
    text = summaries.summarize(rows)
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
            f"our convolutions / {row['other']}, {row['method']} at {row['preset']}, "
            f"{row['seeds']} seeds, {row['precision']}: "
            f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"
        )
    used = [f"{size:.0f} MiB of {kind}" for kind, size in timing.memory().items()]
    print(f"{record['device']}; peak memory: {', '.join(used)}\nrecord: {output}")


if __name__ == "__main__":
    program.run(main)
