"""Measure the speed and the errors of IvOM, against SciPy's L-BFGS and PyTorch's.

    pip install -e '.[bench]'
    python scripts/bench/ivom.py
        The quick and the paper generator of CIFAR-10, random weights: about five
        minutes on two free cores. Expect 4 and 5.5 times the images/s of SciPy's
        loop, and equal errors.
    python scripts/bench/ivom.py --run=runs/cifar10/quick/veegan --images=128
        A trained generator, its first seed, and the test images.
    python scripts/bench/ivom.py --tiny --repeats=1
        Digits and a few channels, to try the program: its numbers mean nothing.

Three solvers minimize the same errors from the same starts, with at most 200 iterations
and a memory of 10:
  ours   `ivom.ivom` as eval_ivom.py uses it, on all devices, without its compilation.
  scipy  A loop over the pairs of an image and a start. scipy.optimize.minimize
         (L-BFGS-B) calls the compiled error and gradient of one pair, the function
         that ours maps over its lanes.
  torch  A loop of torch.optim.LBFGS (strong_wolfe), eager, on a generator with the same
         weights, which is checked to make the same images. The fastest of PyTorch's
         layouts, with one thread or all, counts.

Ours stops a pair when an iteration lowers its error by at most 1e-6 of it. The others
have absolute tolerances, so each image's is 1e-6 of the lowest error that ours found.
Images/s are medians over the repeats, in turns. A loop's rate does not depend on the
number of images, so the loops get only the first --loop_images, and ours all of them.
(A loop in each of C processes would be at most C times as fast as this one.) Errors are
compared on the images that all solvers had: the lowest over the starts, recomputed from
z by one function. `equal` means within 1e-3. The targets: see ivom_tasks.py.

Leave the cores free: PyTorch's threads spin while they wait for each other, and with
other work on the cores they are many times slower, which would flatter JAX.

The record goes to runs/speed/ivom.json; `make_tables.py --add=` keeps it.

Dimension key: N images, X values of an image (any shape), Z latent, K starts, B batch.
"""

import functools
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import early  # noqa: F401
import ivom_table
import ivom_tasks
import jax
import numpy as np
import scipy
import timing
from absl import flags
from ivom_tasks import Task
from scipy import optimize

from veegan_jax.common import errors, records
from veegan_jax.common import flags as common_flags
from veegan_jax.experiments import ivom_glance, stored
from veegan_jax.metrics import batched_lbfgs, ivom
from veegan_jax.runtime import distributed, program

ITERATIONS = 200
MEMORY = 10  # of every L-BFGS
RTOL = 1e-6
EQUAL = 1e-3  # relative difference of two errors

IMAGES = common_flags.define_number("images", 128, "that ours gets", within="[1, inf)")
LOOP_IMAGES = common_flags.define_number(
    "loop_images", 8, "of these, that the loops get", within="[1, inf)"
)
STARTS = common_flags.define_number("starts", 3, "starts per image", within="[1, inf)")
REPEATS = common_flags.define_number(
    "repeats", 3, "measurements of each number", within="[1, inf)"
)
SIZES = flags.DEFINE_list(
    "presets", list(ivom_tasks.PRESETS), "whose generators, of random weights"
)
RUN = common_flags.define_path(
    "run", None, "a work directory, whose generator is measured instead"
)
DATA_DIR = common_flags.define_path(
    "data_dir", "", "of --run: tensorflow-datasets' folder; empty: TFDS_DATA_DIR"
)
OUTPUT = common_flags.define_path(
    "output",
    None,
    "where the record goes (default: runs/speed/ivom.json, with --tiny "
    "runs/speed/ivom_tiny.json)",
)
TORCH = flags.DEFINE_bool("torch", True, "compare with PyTorch")
TINY = flags.DEFINE_bool("tiny", False, "tiny networks, to try the program")

evaluate = jax.jit(jax.value_and_grad(batched_lbfgs.error, argnums=1))


class Found(NamedTuple):
    """A solver's result: for each image the best over its starts."""

    z_NZ: np.ndarray
    evaluations_NK: np.ndarray


# (number of the image, start, tolerance) -> (z, error, evaluations)
Minimize = Callable[[int, np.ndarray, float], tuple[np.ndarray, float, int]]


def ours(task: Task, num: int, start_z_NKZ: np.ndarray) -> ivom.Result:
    """Run `ivom.ivom` on the first images."""
    return ivom.ivom(
        task.sample,
        task.targets_NX[:num],
        jax.random.key(ivom_glance.KEY),  # unused: the starts are given
        latent_size=task.config.latent_size,
        iterations=ITERATIONS,
        report_at=(ITERATIONS,),
        start_z_NKZ=start_z_NKZ[:num],
        rtol=RTOL,
    )


def loop(minimize: Minimize, start_z_NKZ: np.ndarray, tolerance_N: np.ndarray) -> Found:
    """Minimize one pair after the other."""
    z_NZ, evaluations_NK = [], []
    for i, (start_z_KZ, tolerance) in enumerate(
        zip(start_z_NKZ, tolerance_N, strict=True)
    ):
        pairs = [minimize(i, z_Z, float(tolerance)) for z_Z in start_z_KZ]
        z_NZ.append(min(pairs, key=lambda pair: pair[1])[0])
        evaluations_NK.append([pair[2] for pair in pairs])
    return Found(np.array(z_NZ, np.float32), np.array(evaluations_NK))


def by_scipy(task: Task, num: int) -> Minimize:
    """Return a pair's minimization by SciPy; JAX computes error and gradient."""
    targets = [jax.device_put(x_X) for x_X in task.targets_NX[:num]]

    def minimize(image, start_z_Z, tolerance):
        def objective(z_Z):
            z_Z = z_Z.astype(np.float32)
            error, grad_Z = evaluate(task.sample, z_Z, targets[image])
            return float(error), np.asarray(grad_Z, np.float64)

        options = dict(maxiter=ITERATIONS, maxcor=MEMORY, maxfun=10**6)
        options |= dict(ftol=tolerance, gtol=tolerance)
        found = optimize.minimize(
            objective, start_z_Z, jac=True, method="L-BFGS-B", options=options
        )
        return found.x, found.fun, found.nfev

    jax.block_until_ready(
        evaluate(task.sample, np.zeros(task.config.latent_size, np.float32), targets[0])
    )
    return minimize


def by_torch(
    task: Task, num: int, device: str, z_BZ: np.ndarray
) -> tuple[Minimize, dict[str, Any]]:
    """Return a pair's minimization by PyTorch, the variant, and its difference.

    Raises:
      given_noise.Mismatch: if the generator does not make JAX's images.
    """
    import torch_ivom

    threads = distributed.cpu_cores()
    peers = torch_ivom.variants(task.config, task.state, device, threads)
    differences = [torch_ivom.check(peer, task.sample, z_BZ) for peer in peers.values()]
    name = torch_ivom.fastest(peers, task.targets_NX[0], z_BZ[0])
    peer = peers[name]
    targets = [peer.target(x_X) for x_X in task.targets_NX[:num]]

    def minimize(image, start_z_Z, tolerance):
        return torch_ivom.minimize(
            peer,
            targets[image],
            start_z_Z,
            iterations=ITERATIONS,
            tolerance=tolerance,
        )

    return minimize, {"variant": name, "largest_difference": max(differences)}


def measure(
    task: Task,
    *,
    loop_images: int,
    starts: int,
    repeats: int,
    torch_device: str | None,
) -> dict[str, Any]:
    """Measure every solver on one generator.

    Args:
      task: generator and targets.
      loop_images: how many images the loops get, the first ones.
      starts: K.
      repeats: measurements of each number, in turns.
      torch_device: where PyTorch runs; None: not at all.

    Returns:
      A row of the record: the `solvers`, and ours `against` each of the others. Lists
      hold the single measurements, or an error for each of the loops' images.

    Raises:
      given_noise.Mismatch: if PyTorch's generator does not make JAX's images.
    """
    num, size = len(task.targets_NX), task.config.latent_size
    key = jax.random.key(ivom_glance.KEY)
    start_z_NKZ = ivom.draw_starts(key, np.arange(num), starts, size)
    first_z_NKZ = start_z_NKZ[:loop_images]
    found: dict[str, Any] = {}

    def run_ours(count=num):
        found["ours"] = ours(task, count, start_z_NKZ)

    # The program is the same for the first images and for all.
    first, later = (
        timing.seconds(functools.partial(run_ours, loop_images)) for _ in range(2)
    )
    tolerance_N = RTOL * found["ours"].error_N
    about: dict[str, dict[str, Any]] = {
        "ours": {"compile_seconds": max(0.0, first - later)},
        "scipy": {},
    }
    loops = {"scipy": by_scipy(task, loop_images)}
    if torch_device:
        loops["torch"], about["torch"] = by_torch(
            task, loop_images, torch_device, start_z_NKZ.reshape(-1, size)[:16]
        )

    def run_loop(name):
        found[name] = loop(loops[name], first_z_NKZ, tolerance_N)

    runners: dict[str, timing.Runner] = {"ours": (run_ours, num)}
    for name in loops:
        runners[name] = functools.partial(run_loop, name), loop_images
    rates = timing.rates(runners, repeats, 0.0)
    first_N = task.targets_NX[:loop_images]
    error_N = {
        name: np.array(
            [
                float(evaluate(task.sample, z_Z, x_X)[0])
                for z_Z, x_X in zip(result.z_NZ[:loop_images], first_N, strict=True)
            ]
        )
        for name, result in found.items()
    }
    return {
        "generator": task.name,
        "method": task.config.method,
        "dataset": task.config.dataset,
        "latent_size": size,
        "data": task.data,
        "spread": ivom_tasks.spread(task),
        "images": num,
        "mean_error_of_all": float(found["ours"].error_N.mean()),
        "solvers": {
            name: {
                "images_per_second": rates[name],
                "median": statistics.median(rates[name]),
                "evaluations_per_pair": float(
                    found[name].evaluations_NK[:loop_images].mean()
                ),
                "mean_error": float(error_N[name].mean()),
                "errors": error_N[name].tolist(),
                **about[name],
            }
            for name in runners
        },
        "against": {
            name: timing.ratio(rates["ours"], rates[name])
            | agreement(error_N["ours"], error_N[name])
            for name in loops
        },
    }


def agreement(ours_N: np.ndarray, theirs_N: np.ndarray) -> dict[str, float]:
    """Return the share of images with equal errors, and of those lower in ours."""
    equal_N = np.abs(ours_N - theirs_N) <= EQUAL * theirs_N
    lower_N = (ours_N < theirs_N) & ~equal_N
    return {"equal": float(equal_N.mean()), "lower": float(lower_N.mean())}


def check_flags(names: Sequence[str]) -> None:
    """Refuse flags with which nothing can be measured.

    Raises:
      InputError: naming the flag, its value and what is allowed.
    """
    timing.check_names("presets", names, ivom_tasks.PRESETS)
    if not names and not RUN.value:
        raise errors.InputError("--presets= names nothing: give a preset, or --run")


def main() -> None:
    check_flags(SIZES.value)
    tiny, num = TINY.value, IMAGES.value
    if RUN.value:
        stored.configuration(pathlib.Path(RUN.value))  # before a folder is made
    default = f"runs/speed/ivom{'_tiny' if tiny else ''}.json"
    output = timing.output(OUTPUT.value, default)
    # JAX would take most of a GPU's memory, and PyTorch needs some of it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    distributed.use_cpu_cores(distributed.cpu_cores())
    start = time.perf_counter()
    if RUN.value:
        workdir = pathlib.Path(RUN.value)
        plan = [functools.partial(ivom_tasks.from_run, workdir, num, DATA_DIR.value)]
    else:
        plan = [
            functools.partial(ivom_tasks.from_preset, name, num, tiny=tiny)
            for name in SIZES.value
        ]
    device, version = timing.set_up_torch() if TORCH.value else (None, None)
    settings = dict(
        loop_images=min(LOOP_IMAGES.value, num),
        starts=STARTS.value,
        repeats=REPEATS.value,
    )
    rows = []
    for make in plan:
        task = make()
        if device:
            import torch_ivom

            torch_ivom.check_config(task.config)
        rows.append(measure(task, torch_device=device, **settings))
        print(f"{time.perf_counter() - start:4.0f} s: {task.name}", flush=True)
    record = {
        **timing.provenance(),
        "scipy": scipy.__version__,
        "torch": version,
        **settings,
        "iterations": ITERATIONS,
        "rtol": RTOL,
        "tiny": tiny,
        "wall_seconds": time.perf_counter() - start,
        "peak_memory_mib": timing.memory(),
        "rows": rows,
    }
    records.write(output, record)
    print(f"\n{ivom_table.table(record)}\n\nrecord: {output}")


if __name__ == "__main__":
    program.run(main)
