"""Measures the speed of IvOM against SciPy's L-BFGS and PyTorch's, and what each finds.

    pip install -e '.[bench]'
    python scripts/bench/ivom.py
        The quick and the paper generator of CIFAR-10, random weights: about five
        minutes on two free cores.
    python scripts/bench/ivom.py --run=runs/cifar10/quick/veegan --images=128
        A trained generator, its first seed, and the test images.
    python scripts/bench/ivom.py --tiny --repeats=1
        Digits and a few channels, to try the program: its figures mean nothing.

Three ways to the same minima, all from the same starts, with at most 200 iterations and
a memory of 10: `ivom.ivom` as eval_ivom.py uses it, on all devices, its compilation
apart; a loop over the pairs of an image and a start, in which scipy.optimize.minimize
(L-BFGS-B) calls the compiled error and gradient of one pair, the same function that
ours maps over its lanes; and a loop of torch.optim.LBFGS (strong_wolfe), eager, on a
generator of the same weights, which is first shown to make the same images. Of
PyTorch's layouts, and of one thread and all, the fastest counts.

Ours stops a pair when an iteration lowers its error by at most 1e-6 of it. The others'
tolerances are absolute, of errors below 1: for each image 1e-6 of the lowest error that
ours found. Images/s are medians over the repeats, in turns. A loop's rate does not
depend on how many images there are, so the loops get the first --loop_images only, and
ours all of them. (A loop in each of C processes would be at most C times as fast as the
one measured here.) Errors are compared on the images that all ways had: the lowest over
the starts, each recomputed from its z by the same function. `equal`: within 1e-3.

Random weights: he initialisation, BatchNorm's moments those of a batch, as training
would leave them; without, or with the initialisation of training, all samples are
nearly the same image and there is little to minimise. The targets are other samples of
the same generator, plus normal noise of 0.1, clipped to [0, 1]. They are nearer than
real images are: a trained generator needs more iterations.

Leave the cores free: PyTorch's threads spin while they wait for each other, and with
other work on the cores they are many times slower, which would flatter JAX.

Dimension key: N images, X values of an image (any shape), Z latent, K starts, B batch.
"""

import functools
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ivom_table
import jax
import numpy as np
import scipy
import timing
from absl import flags
from jax.tree_util import Partial
from scipy import optimize

from veegan_jax.common import errors, records
from veegan_jax.config import Config
from veegan_jax.experiments import base, ivom_targets
from veegan_jax.experiments import images as image_experiment
from veegan_jax.experiments import ivom as ivom_experiment
from veegan_jax.methods import base as method_base
from veegan_jax.methods.base import TrainState
from veegan_jax.metrics import batched_lbfgs, ivom
from veegan_jax.presets import resolve
from veegan_jax.runtime import distributed, parallel, program

ITERATIONS = 200
MEMORY = 10  # of every L-BFGS
RTOL = 1e-6
EQUAL = 1e-3  # relative difference of two errors
NOISE = 0.1  # in the targets of random generators, pixels in [0, 1]
PRESETS = ("quick", "paper")

IMAGES = flags.DEFINE_integer("images", 128, "that ours minimises")
LOOP_IMAGES = flags.DEFINE_integer("loop_images", 8, "of these, that the loops do")
STARTS = flags.DEFINE_integer("starts", 3, "per image")
REPEATS = flags.DEFINE_integer("repeats", 3, "measurements of each figure")
SIZES = flags.DEFINE_list("presets", list(PRESETS), "generators of random weights")
RUN = flags.DEFINE_string(
    "run", None, "a work directory, whose generator is measured in place of those"
)
DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "of --run: tensorflow-datasets' folder; empty: TFDS_DATA_DIR"
)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "where the record goes (default: runs/speed/ivom.json, with --tiny "
    "runs/speed/ivom_tiny.json)",
)
TORCH = flags.DEFINE_bool("torch", True, "compare with PyTorch")
TINY = flags.DEFINE_bool("tiny", False, "tiny networks, to try the program")

evaluate = jax.jit(jax.value_and_grad(batched_lbfgs.error, argnums=1))


class Task(NamedTuple):
    """A generator, and images to come near to."""

    name: str
    config: Config
    state: TrainState  # of one seed
    sample: Partial  # z [B, Z] -> pixels in [0, 1]
    targets_NX: np.ndarray
    data: str  # what the targets are


class Found(NamedTuple):
    """What a way found, for each image the best over its starts."""

    z_NZ: np.ndarray
    evaluations_NK: np.ndarray


# From a pair's image (its number), start and tolerance to z, error and evaluations.
Minimise = Callable[[int, np.ndarray, float], tuple[np.ndarray, float, int]]


def random_state(config: Config) -> TrainState:
    """Initial weights, BatchNorm's running moments those of one batch."""
    state = image_experiment.each_seed(base.init_seeds([0], config))[0]
    old = state.batch_stats["generator"]
    params = state.params["generator"]
    z_BZ = jax.random.normal(jax.random.key(1), config.latent_shape(256))
    train = jax.jit(
        functools.partial(method_base.apply_training, config.generator()),
        compiler_options=parallel.compile_options_of_init(),
    )
    _, new = train(params, old, z_BZ)
    # flax keeps 0.9 of the old ones.
    moments = jax.tree.map(lambda a, b: (b - 0.9 * a) / 0.1, old, new)
    return state.replace(batch_stats=state.batch_stats | {"generator": moments})


def of_random_weights(preset: str, num: int, *, tiny: bool) -> Task:
    """A preset's generator, and noisy samples of its own as targets."""
    changes, dataset = {}, "cifar10"
    if tiny:
        dataset = "digits"
        changes = dict(latent_size=4, discriminator_widths=(3, 4))
        changes["generator_widths"] = (6,) if preset == "paper" else (6, 5)
    config = resolve.resolve("gan", dataset, preset, kernel_init="he", **changes)
    state = random_state(config)
    sample = ivom_experiment.sampler(state, config)
    z_NZ = jax.random.normal(jax.random.key(2), (num, config.latent_size))
    noise = np.random.default_rng(0).normal(
        0, NOISE, (num, *image_experiment.shape(config))
    )
    targets_NX = np.clip(np.asarray(sample(z_NZ)) + noise, 0, 1).astype(np.float32)
    data = f"samples of the generator with noise of {NOISE}"
    return Task(preset, config, state, sample, targets_NX, data)


def of_run(workdir: pathlib.Path, num: int, data_dir: str) -> Task:
    """A run's first seed, and test images of its data.

    Raises:
      InputError: if the folder holds no run on images in [0, 1] that a name leads to.
    """
    config, seeds, done, state = base.restore(workdir)
    if config.dataset == "faces" or ivom_targets.image_shape(config) is None:
        raise errors.InputError(
            f"--run={workdir} was trained on {config.dataset}; give a run on cifar10, "
            "mnist, digits or their stacks"
        )
    found = ivom_targets.load(config, num, data_dir=data_dir or None)
    state = image_experiment.each_seed(state)[0]
    sample = ivom_experiment.sampler(state, config)
    name = f"{config.method} on {config.dataset}, seed {seeds[0]}, {done} steps"
    return Task(name, config, state, sample, found.test_NX, found.name)


def spread(task: Task) -> float:
    """Standard deviation of a pixel over samples, mean over the pixels."""
    z_BZ = jax.random.normal(jax.random.key(3), (256, task.config.latent_size))
    return float(np.asarray(task.sample(z_BZ)).std(axis=0).mean())


def ours(task: Task, num: int, start_z_NKZ: np.ndarray) -> ivom.Result:
    """`ivom.ivom` of the first images."""
    return ivom.ivom(
        task.sample,
        task.targets_NX[:num],
        jax.random.key(ivom_targets.KEY),  # unused: the starts are given
        latent_size=task.config.latent_size,
        iterations=ITERATIONS,
        report_at=(ITERATIONS,),
        start_z_NKZ=start_z_NKZ[:num],
        rtol=RTOL,
    )


def loop(minimise: Minimise, start_z_NKZ: np.ndarray, tolerance_N: np.ndarray) -> Found:
    """One pair after the other."""
    z_NZ, evaluations_NK = [], []
    for i, (start_z_KZ, tolerance) in enumerate(
        zip(start_z_NKZ, tolerance_N, strict=True)
    ):
        pairs = [minimise(i, z_Z, float(tolerance)) for z_Z in start_z_KZ]
        z_NZ.append(min(pairs, key=lambda pair: pair[1])[0])
        evaluations_NK.append([pair[2] for pair in pairs])
    return Found(np.array(z_NZ, np.float32), np.array(evaluations_NK))


def by_scipy(task: Task, num: int) -> Minimise:
    """A pair's minimisation by SciPy, the error and gradient by JAX."""
    targets = [jax.device_put(x_X) for x_X in task.targets_NX[:num]]

    def minimise(image, start_z_Z, tolerance):
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
    return minimise


def by_torch(
    task: Task, num: int, device: str, z_BZ: np.ndarray
) -> tuple[Minimise, dict[str, Any]]:
    """A pair's minimisation by PyTorch; the variant that counts, and its difference.

    Raises:
      check_peers.Mismatch: if the generator does not make JAX's images.
    """
    import torch_ivom

    threads = distributed.cpu_cores()
    peers = torch_ivom.variants(task.config, task.state, device, threads)
    differences = [torch_ivom.check(peer, task.sample, z_BZ) for peer in peers.values()]
    name = torch_ivom.fastest(peers, task.targets_NX[0], z_BZ[0])
    peer = peers[name]
    targets = [peer.target(x_X) for x_X in task.targets_NX[:num]]

    def minimise(image, start_z_Z, tolerance):
        return torch_ivom.minimise(
            peer,
            targets[image],
            start_z_Z,
            iterations=ITERATIONS,
            tolerance=tolerance,
        )

    return minimise, {"variant": name, "largest_difference": max(differences)}


def measure(
    task: Task,
    *,
    loop_images: int,
    starts: int,
    repeats: int,
    torch_device: str | None,
) -> dict[str, Any]:
    """Measures every way on one generator.

    Args:
      task: what to minimise.
      loop_images: the first images, which the loops minimise.
      starts: K.
      repeats: measurements of each figure, in turns.
      torch_device: where PyTorch runs; None: not at all.

    Returns:
      A row of the record: the `ways`, and ours `against` each of the others. Lists
      hold the single measurements, or an error for each of the loops' images.

    Raises:
      check_peers.Mismatch: if PyTorch's generator does not make JAX's images.
    """
    num, size = len(task.targets_NX), task.config.latent_size
    key = jax.random.key(ivom_targets.KEY)
    start_z_NKZ = ivom.draw_starts(key, np.arange(num), starts, size)
    first_z_NKZ = start_z_NKZ[:loop_images]
    found: dict[str, Any] = {}

    def run_ours(count=num):
        found["ours"] = ours(task, count, start_z_NKZ)

    # The first images make the same program as all.
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
        "spread": spread(task),
        "images": num,
        "mean_error_of_all": float(found["ours"].error_N.mean()),
        "ways": {
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
    """The shares of the images whose errors are equal, and of those lower in ours."""
    equal_N = np.abs(ours_N - theirs_N) <= EQUAL * theirs_N
    lower_N = (ours_N < theirs_N) & ~equal_N
    return {"equal": float(equal_N.mean()), "lower": float(lower_N.mean())}


def check_flags(names: Sequence[str]) -> None:
    """Raises InputError for what cannot be measured."""
    for flag in (IMAGES, LOOP_IMAGES, STARTS, REPEATS):
        if flag.value < 1:
            raise errors.InputError(f"--{flag.name}={flag.value} must be at least 1")
    timing.check_names("presets", names, PRESETS)
    if not names and not RUN.value:
        raise errors.InputError("--presets= leaves nothing to measure")


def main() -> None:
    check_flags(SIZES.value)
    tiny, num = TINY.value, IMAGES.value
    default = f"runs/speed/ivom{'_tiny' if tiny else ''}.json"
    output = pathlib.Path(OUTPUT.value or default)
    # JAX would take most of a GPU's memory, and PyTorch needs some of it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    distributed.use_cpu_cores(distributed.cpu_cores())
    start = time.perf_counter()
    if RUN.value:
        plan = [functools.partial(of_run, pathlib.Path(RUN.value), num, DATA_DIR.value)]
    else:
        plan = [
            functools.partial(of_random_weights, name, num, tiny=tiny)
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
        **records.provenance(),
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
    output.parent.mkdir(parents=True, exist_ok=True)
    records.write(output, record)
    print(f"\n{ivom_table.table(record)}\n\nrecord: {output}")


if __name__ == "__main__":
    program.run(main)
