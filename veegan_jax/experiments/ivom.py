"""IvOM of a run of this repository: targets, baselines and a resumable measurement.

Errors are mean squared ones, of pixels in [0, 1]; of mixtures, in their own unit.

Dimension key: S seeds, N images, X values of an image (any shape), Z latent.
"""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors, fields, json_files, memory, records
from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.experiments import (
    base,
    diverged,
    ivom_blocks,
    ivom_glance,
    ivom_targets,
    sampling,
    stored,
)
from veegan_jax.experiments import images as image_experiment
from veegan_jax.methods.base import TrainState
from veegan_jax.metrics import baselines, ivom, ivom_checks
from veegan_jax.runtime import (
    distributed,
    numerics,
    parallel,
    programs,
    rng,
    workdirs,
)

REPORT_AT = (5, 25, 200)  # iterations: the last is set by the options
QUANTILES = tuple(range(0, 101, 5))  # of the errors over images, %


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the measurement."""

    images: int = fields.field(
        1280, "test images, every n-th of their fixed order", within="[1, inf)"
    )
    starts: int = fields.field(
        3, "z ~ N(0, I) to start from, per image", within="[1, inf)"
    )
    iterations: int = fields.field(200, "of L-BFGS, at most", within="[1, inf)")
    step: int = fields.field(
        0, "of the run's checkpoint; 0: the newest", within="[0, inf)"
    )
    seeds: int = fields.field(
        0, "measure the run's first so many seeds; 0: all", within="[0, inf)"
    )
    block: int = fields.field(128, "images between two saves", within="[1, inf)")
    memory_mib: int = fields.field(
        1024, "memory for one device's evaluations", within="[1, inf)"
    )
    parallel: str = fields.field(
        "pmap",
        "pmap or jit: images spread over devices; none: on one of each process",
        choices=parallel.MODES,
    )
    data_dir: str = fields.field(
        "", "tensorflow-datasets' folder; empty: TFDS_DATA_DIR", path=True
    )

    def __post_init__(self) -> None:
        fields.check(self)

    def report_at(self) -> tuple[int, ...]:
        """Return the iterations whose errors are kept; 0 stands for the starts."""
        return 0, *(n for n in REPORT_AT if n < self.iterations), self.iterations


@programs.jit("config")
def _reconstruct(state: TrainState, x_BX: jax.Array, *, config: Config) -> jax.Array:
    is_mixture = mixtures.is_mixture(config.dataset)
    x_BX = x_BX if is_mixture else 2 * x_BX - 1
    return methods.get(config.method).reconstruct(state, x_BX, config=config)


@numerics.standard
def measure(
    workdir: pathlib.Path,
    options: Options,
    output: pathlib.Path,
    source: image_experiment.Source | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Measure every seed of a run's newest checkpoint, block by block.

    What is done is kept in `output`, so the same command goes on where it stopped.
    With several processes each measures a block, over its own devices, and the first
    keeps them all.

    Args:
      workdir: of a training script of this repository.
      options: how to measure.
      output: gets config.json, blocks/, of images nearest.npz, and results.json.
      source: see `ivom_targets.load`.

    Returns:
      The record; and, for metrics, in the first process alone: the targets "test"
      [N, X] and what was found for each seed and image: "error" [S, N], "nearest" [S,
      N, X], and the baselines' errors "mean_image", "pca",
      "nearest_training" [N] and "random" [S, N].

    Raises:
      InputError: if the folder holds no run or a damaged record, the data cannot be
        had, or `output` holds another measurement.
      loop.Interrupted: after SIGTERM or SIGINT, once the block is saved.
    """
    start = time.perf_counter()
    config, seeds, done, state = stored.restore(workdir, options.step)
    trained = distributed.on_main_process(lambda: _record_of_training(workdir))
    if not methods.has_generator(config.method):
        raise errors.InputError(
            f"{workdir}: {config.method} has no generate(state, z, *, config), whose "
            "inputs IvOM searches; add it to the method's file"
        )
    z_2Z = jax.ShapeDtypeStruct((2, config.latent_size), jnp.float32)
    generate = functools.partial(ivom_glance.generate_values, config=config)
    one = jax.tree.map(lambda leaf: leaf[0], state)
    ivom_checks.check_floats(jax.eval_shape(generate, one, z_2Z))
    if options.seeds > len(seeds):
        raise errors.InputError(
            f"--seeds={options.seeds}: {workdir} has {len(seeds)}; ask for fewer"
        )
    seeds = seeds[: options.seeds or len(seeds)]
    values = options.images * math.prod(config.data.shape)
    memory.check(4 * values, f"--images={options.images}")
    starts = min(options.block, options.images) * options.starts * config.latent_size
    memory.check(4 * starts, f"--block={options.block} x --starts={options.starts}")
    targets = ivom_targets.load(
        config, options.images, data_dir=options.data_dir or None, source=source
    )
    identity = dataclasses.asdict(options) | {"step": done, "data": targets.name}
    for name in ("data_dir", "memory_mib", "parallel", "seeds"):
        del identity[name]
    of_the_run = {
        "dataset": config.dataset,
        "method": config.method,
        stored.METHOD_SHA256: methods.fingerprint(config.method),
        "weights_sha256": stored.weights_sha256(state),
    }
    workdirs.claim(output, identity | of_the_run, flag="output", newer=of_the_run)
    states = dict(zip(seeds, sampling.each_seed(state)[: len(seeds)], strict=True))

    def measure_one(block: ivom_blocks.Block) -> dict[str, np.ndarray]:
        begin = time.perf_counter()
        arrays = _measure_block(block, states[block.seed], config, targets, options)
        arrays["seconds"] = np.float64(time.perf_counter() - begin)
        return arrays

    plan = list(_blocks(seeds, config, options))
    title = f"IvOM of {config.method} on {config.dataset}"
    folder = output / "blocks"
    # What commands before this one measured; this one counts from its start.
    before = distributed.on_main_process(lambda: ivom_blocks.seconds(plan, folder))
    ivom_blocks.measure_missing(plan, measure_one, folder, options.block, title)
    arrays: dict[str, np.ndarray] = {}

    def summarize() -> dict[str, Any]:
        found = ivom_blocks.join(plan, output / "blocks")
        record, metrics = _summarize(
            trained, config, options, targets, states, found, done
        )
        record["wall_seconds"] = round(before + time.perf_counter() - start, 3)
        if ivom_targets.image_shape(config) is not None:
            ivom_targets.write_nearest(metrics, config, output / "nearest.npz")
        # The record is last: what has one is whole.
        records.write(output / "results.json", record)
        arrays.update(metrics)
        return record

    return distributed.on_main_process(summarize), arrays


def _record_of_training(workdir: pathlib.Path) -> dict[str, Any] | None:
    """Return a run's record; None if its training has not ended."""
    path = workdir / "results.json"
    remedy = "give the command of its training again, which writes it anew"
    return json_files.read(path, remedy) if path.exists() else None


def _blocks(
    seeds: range, config: Config, options: Options
) -> Iterator[ivom_blocks.Block]:
    """Yield all blocks, in order."""
    kinds = ("prior", "r") if methods.has_reconstructor(config.method) else ("prior",)
    for seed in seeds:
        for kind in kinds:
            for first in range(0, options.images, options.block):
                last = min(first + options.block, options.images)
                yield ivom_blocks.Block(
                    seed,
                    kind,
                    range(first, last),
                    config.latent_size,
                    len(options.report_at()),
                )


def _measure_block(
    block: ivom_blocks.Block,
    state: TrainState,
    config: Config,
    targets: ivom_targets.Targets,
    options: Options,
) -> dict[str, np.ndarray]:
    ids = block.ids
    x_NX, start_z = targets.test_NX[ids.start : ids.stop], None
    if block.kind == "r":
        start_z = _reconstruct(state, jnp.asarray(x_NX), config=config)[:, None]
    result = ivom.ivom(
        ivom_glance.sampler(state, config),
        x_NX,
        rng.key(ivom_glance.KEY),
        latent_size=config.latent_size,
        starts=options.starts,
        iterations=options.iterations,
        report_at=options.report_at(),
        ids_N=np.asarray(ids),
        start_z_NKZ=start_z,
        memory_mib=options.memory_mib,
        parallel=options.parallel,
        value_range=targets.value_range,
    )
    return {
        "error": result.error_N,
        "z": result.z_NZ,
        "curve": result.curve_NR,
        "converged": result.converged_N,
        "error_of_starts": result.error_NK,
    }


def _summarize(
    trained: dict[str, Any] | None,
    config: Config,
    options: Options,
    targets: ivom_targets.Targets,
    states: dict[int, TrainState],
    found: dict[tuple[int, str], dict[str, np.ndarray]],
    done: int,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The record, and the arrays of `measure`."""
    samplers = {
        seed: ivom_glance.sampler(state, config) for seed, state in states.items()
    }
    size = config.latent_size
    errors_of = ivom_targets.baseline_errors(targets, size)
    per_seed = []
    for seed in states:
        prior = found[seed, "prior"]
        metrics = {"ivom": prior["error"].mean()}
        curve = prior["curve"].mean(axis=0)
        for at, value in zip(options.report_at()[1:-1], curve[1:-1], strict=True):
            metrics[f"ivom_{at}"] = value
        metrics["converged"] = 100 * prior["converged"].mean()
        metrics["latent_rms"] = np.sqrt(np.mean(prior["z"] ** 2))
        metrics["random"] = curve[0]
        nearest_N = errors_of["nearest_training"]
        shares = baselines.recall(prior["error"], nearest_N, prior["z"])
        metrics["recall"], metrics["recall_any_z"] = (100 * share for share in shares)
        if methods.has_reconstructor(config.method):
            metrics["r"] = found[seed, "r"]["curve"][:, 0].mean()
            metrics["ivom_from_r"] = found[seed, "r"]["error"].mean()
        with np.errstate(invalid="ignore"):  # infinity minus infinity: undefined
            quantiles = np.percentile(prior["error"], QUANTILES)
        per_seed.append(
            {
                "seed": seed,
                **{name: records.number(value) for name, value in metrics.items()},
                "quantiles": [records.number(q) for q in quantiles],
                **diverged.failed_before(states[seed], done),
            }
        )
    whole = [s for s in per_seed if "failed" not in s]
    names = [n for n in per_seed[0] if n not in ("seed", "quantiles", "failed")]
    values = {n: np.array([s[n] for s in whole], float) for n in names}
    record = {
        **records.provenance(),
        "ivom_of": {"step": done, "latent_size": size},
        "trained": trained,
        "config": configs.to_json(config),
        "options": dataclasses.asdict(options) | {"data_dir": ""},
        "data": targets.name,
        "per_seed": per_seed,
        **base.over_seeds(values),
        "baselines": {n: records.number(e.mean()) for n, e in errors_of.items()},
        "floor_quantiles": {
            n: [records.number(q) for q in np.percentile(e, QUANTILES)]
            for n, e in errors_of.items()
        },
    }
    nearest = [
        np.asarray(samplers[s](jnp.asarray(found[s, "prior"]["z"]))) for s in states
    ]
    return record, {
        "test": targets.test_NX,
        "error": np.stack([found[s, "prior"]["error"] for s in states]),
        "nearest": np.stack(nearest),
        "random": np.stack([found[s, "prior"]["curve"][:, 0] for s in states]),
        **errors_of,
    }
