"""How long a cell takes on this device: from a measured rate. No flags here.

Dimension key: S seeds, B batch.
"""

import functools
import hashlib
import json
import math
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from reproduction import states
from reproduction.cells import Cell

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import caches, metrics_log, records
from veegan_jax.config import Config
from veegan_jax.cost import flops
from veegan_jax.experiments import base
from veegan_jax.networks.configs import NETWORKS
from veegan_jax.runtime import parallel

LARGE = 5e9  # FLOPs of a step; larger products come nearer to a device's peak
LBFGS_EVALUATIONS = 250  # of a search of IvOM; 200 iterations and their line searches
_STEPS = 8  # of the program that is measured
_LARGE_BATCH = 8  # of the step that is measured instead if steps are large
_SECONDS = 3.0  # that are measured

# How the minutes of a cell are known.
BY_RECORD, BY_RUN, BY_RATE, ELSEWHERE = "record", "its run", "rate", "other device"


class Minutes(NamedTuple):
    """The expected minutes of a cell, and how they are known; None: they are not."""

    minutes: float | None
    source: str


class Rate(NamedTuple):
    """The speed of one device on one family of networks."""

    flops: float  # of one seed's steps, per second
    setup: float  # seconds that compiling takes


class Rates:
    """Measures a rate for each family of networks, once a device.

    Args:
      cache_dir: see `caches.folder`.
    """

    def __init__(self, cache_dir: str | None = None) -> None:
        self._caches = caches.Caches(cache_dir)
        about = records.provenance()
        self.device = about["device"], about["processor"]
        self._machine = [*self.device, jax.__version__]

    def _kept(self, name: str, key: str, measure: Any) -> Any:
        """Return what was measured before under this key, or measure and keep it."""
        file = f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        found = self._caches.read(file, lambda stream: json.loads(stream.read()))
        if found is None:
            found = measure()
            text = json.dumps(found).encode()
            self._caches.write(file, lambda stream: stream.write(text))
        return found

    def flops(self, config: Config) -> float:
        """Count one seed's floating-point operations in a training step."""
        key = json.dumps(configs.to_json(config))
        return self._kept("flops", key, lambda: flops_of_step(config))

    def search_flops(self, config: Config) -> float:
        """Count the operations of one evaluation of IvOM, one image and one start."""
        key = "ivom" + json.dumps(configs.to_json(config))
        return self._kept("flops", key, lambda: flops_of_search(config))

    def of(self, config: Config) -> Rate:
        """Return the rate of a configuration's family; a new one is measured by it."""
        family = next(n for n, c in NETWORKS.items() if c is type(config.networks))
        key = json.dumps([*self._machine, family, self.flops(config) > LARGE])
        return Rate(*self._kept("rate", key, lambda: self._measure(config)))

    def _measure(self, config: Config) -> tuple[float, float]:
        what = f"{config.method} on {config.dataset}"
        print(f"measuring how fast this device trains {what}", flush=True)
        num_steps = _STEPS
        if self.flops(config) > LARGE:  # on CPU one whole step may take minutes
            batch_size = min(config.batch_size, _LARGE_BATCH)
            config, num_steps = config.replace(batch_size=batch_size), 1
        per_second, setup = steps_per_second(config, num_steps)
        return per_second * self.flops(config), setup


def flops_of_step(config: Config) -> float:
    """Count the floating-point operations of one seed's training step."""
    step, state = _step(config, 1)
    one = jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0], tree), state)
    return float(flops.of_products(jax.jit(step).lower(one, None).as_text()))


def flops_of_search(config: Config) -> float:
    """Count those of the error of one z and its gradient."""
    generator = config.generator()
    z_BZ = jax.ShapeDtypeStruct(config.latent_shape(1), jnp.float32)
    variables = jax.eval_shape(generator.init, jax.random.key(0), z_BZ)

    def error(z_BZ: jax.Array, variables: Any) -> jax.Array:
        return jnp.sum(generator.apply(variables, z_BZ) ** 2)

    lowered = jax.jit(jax.value_and_grad(error)).lower(z_BZ, variables)
    return float(flops.of_products(lowered.as_text()))


def steps_per_second(config: Config, num_steps: int) -> tuple[float, float]:
    """Time training steps of a seed on each device.

    Args:
      config: what to train.
      num_steps: of one program; it is run for some seconds, and once at least.

    Returns:
      Steps per second of one of the seeds, and the seconds that compiling took.
    """
    devices = jax.devices()
    step, state = _step(config, len(devices))
    begin = time.perf_counter()
    run = parallel.run_steps(step, num_steps, mode="none", devices=devices)
    state = jax.block_until_ready(run(state)[0])
    setup, steps = time.perf_counter() - begin, 0
    begin = time.perf_counter()
    while (seconds := time.perf_counter() - begin) < _SECONDS or not steps:
        state = jax.block_until_ready(run(state)[0])
        steps += num_steps
    return steps / seconds, setup


def _step(config: Config, seeds: int) -> tuple[Any, Any]:
    """Return a step on one random batch, and the states of seeds, leaves [S, ...]."""
    shape = (config.batch_size, *config.example_shape())
    x_B = np.random.default_rng(0).random(shape, np.float32)
    train_step = functools.partial(methods.get(config.method).train_step, config=config)

    def step(state: Any, axis_name: str | None) -> Any:
        return train_step(state, x_B, axis_name=axis_name)

    return step, base.init_seeds(range(seeds), config)


def expected(
    cell: Cell,
    state: states.State,
    results: pathlib.Path,
    runs: pathlib.Path,
    rates: Rates,
    *,
    measure: bool = True,
) -> Minutes:
    """Return the minutes that a cell takes from here, on this device.

    A record of this device counts first, then what the cell's own run has shown, then
    the rate of its family. A program that is no training has only its records.

    Args:
      cell: the cell.
      state: of its records.
      results: the folder of the records.
      runs: the folder of all work directories.
      rates: of this device.
      measure: whether to use rates; without them, what has not run here is unknown.
    """
    found = []
    if state.kind != states.MISSING:
        for record in cell.records:
            paths = states.files_of(results / record)
            found += [records.read(path) for path in paths]
    known = [r.get("wall_seconds") for r in found]
    total = None if None in known or not known else sum(known) / 60
    here = all((r.get("device"), r.get("processor")) == rates.device for r in found)
    if cell.config is None:
        return Minutes(total, (BY_RECORD if here else ELSEWHERE) if total else "")
    if total is not None and here and state.kind == states.CURRENT:
        return Minutes(total, BY_RECORD)
    done, seconds = progress(runs / cell.workdir)
    if not measure:
        left = max(cell.config.steps - done, 0) * seconds
        return Minutes(left / 60, BY_RUN) if seconds else Minutes(None, "")
    devices = len(jax.devices()) if jax.default_backend() == "cpu" else 1
    rounds = math.ceil(cell.seeds / devices)
    config, searches = cell.config, 0.0
    rate = rates.of(config)
    if cell.ivom:
        starts = cell.ivom.get("starts", 3) * cell.ivom["images"] * cell.seeds
        searches = starts * LBFGS_EVALUATIONS * rates.search_flops(config) / rate.flops
        searches /= devices
    source = BY_RUN if seconds else BY_RATE
    if not seconds:
        seconds = rounds * rates.flops(config) / rate.flops
    left = max(config.steps - done, 0) * seconds
    return Minutes((rate.setup + left + searches) / 60, source)


def progress(workdir: pathlib.Path) -> tuple[int, float]:
    """Return the steps that a run has taken and its seconds per step; 0 if unknown."""
    if not (workdir / "metrics.jsonl").exists():
        return 0, 0.0
    log = metrics_log.read(workdir)
    steps = [row["step"] for row in log]
    gaps = zip(log[1:], np.diff(steps), strict=True)  # the first has the compilation
    each = [row["seconds"] / gap for row, gap in gaps if gap > 0 and row["seconds"]]
    return (steps[-1] if steps else 0), float(np.median(each)) if each else 0.0
