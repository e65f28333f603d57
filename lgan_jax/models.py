"""Every model of one fraction of the data, for all seeds: trained when first asked for.

A stage (an autoencoder, a sampler) is one program over all seeds and classes. It keeps
its own checkpoint in the work directory: stopped at any time it goes on to the same
bits, and a finished one is only read.

Samplers learn in one of three spaces:

  own     every class has its own autoencoder, and its own sampler of encodings;
  shared  a few autoencoders of all classes, in each a sampler for every class;
  moves   the same, in each one sampler of the moves inside all classes.

Dimension key: S seeds, E shared autoencoders, K classes, L members of a stage (all
of its leading axes), M images of the data set, N images of a class, X numbers of an
image, d encoding.
"""

import dataclasses
import functools
import pathlib
import time
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lgan_jax import autoencoder, samplers, vae
from lgan_jax import encodings as spaces
from lgan_jax.config import Config
from lgan_jax.splits import Split
from veegan_jax.common import records
from veegan_jax.cost import report as cost_report
from veegan_jax.runtime import checkpoint, distributed, loop, parallel

OWN, SHARED, MOVES = "", "_shared", "_moves"  # as they end a way's name

# Uses of a seed's key. Only append: a name's place is part of every number.
USES = ("autoencoder", "shared", "vae", "moves", "sample", "affine")
USES += ("lgan", "plain_gan", "gaussian", "mixup", "decoded", "draw")


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """The images to learn from."""

    image_MX: np.ndarray  # uint8
    shape: tuple[int, int, int]  # H, W, C
    splits: tuple[Split, ...]  # which are known, for each seed; all of equal sizes
    seeds: tuple[int, ...]

    @functools.cached_property
    def rows_SKN(self) -> np.ndarray:
        return np.stack([split.rows_KN for split in self.splits])

    @functools.cached_property
    def count_SK(self) -> np.ndarray:
        return np.stack([split.count_K for split in self.splits])

    def keys(self, use: str, *each: int) -> jax.Array:
        """A typed key for every seed and one use, or so many for each: [S, *each]."""
        keys_S = jax.vmap(jax.random.key)(np.asarray(self.seeds, np.uint32))
        keys_S = jax.vmap(jax.random.fold_in, (0, None))(keys_S, USES.index(use))
        if not each:
            return keys_S
        return jax.vmap(lambda key: jax.random.split(key, each))(keys_S)


class Models:
    """Trains, restores and samples the models of a task.

    Args:
      task: the data.
      config: what to train.
      workdir: gets a folder of checkpoints and metrics for every stage.
      mode: see `parallel.run_steps`.
      save_every: seconds between checkpoints.
      dry_run: stages are compiled, not trained: `costs` tells of each.

    Raises (every property that trains):
      loop.Interrupted, loop.NonFinite: see `loop.train`.
    """

    def __init__(
        self,
        task: Task,
        config: Config,
        workdir: pathlib.Path,
        *,
        mode: str = "none",
        save_every: float = 60.0,
        dry_run: bool = False,
    ) -> None:
        self.task, self.config = task, config
        # What each stage would cost, where none is to be trained.
        self.costs: dict[str, str] | None = {} if dry_run else None
        self._workdir, self._mode, self._save_every = workdir, mode, save_every
        self._samplers: dict[tuple[str, str], Any] = {}
        seeds, classes = task.count_SK.shape
        self._leads = {
            OWN: (seeds, classes),
            SHARED: (seeds, config.shared_autoencoders, classes),
            MOVES: (seeds, config.shared_autoencoders),
        }
        self.num_classes = classes

    def space_config(self, space: str) -> Config:
        """The configuration of the autoencoders and samplers of a space."""
        return self.config if space == OWN else self.config.shared()

    @functools.cached_property
    def autoencoders(self) -> Any:
        """One for every class, leaves [S, K, ...]."""
        rows = self.task.rows_SKN, self.task.count_SK
        return self._fit_images("autoencoder", autoencoder, *rows, self.config)

    @functools.cached_property
    def vaes(self) -> Any:
        """One for every class, leaves [S, K, ...]."""
        rows = self.task.rows_SKN, self.task.count_SK
        return self._fit_images("vae", vae, *rows, self.config)

    @functools.cached_property
    def shared(self) -> Any:
        """Autoencoders of all classes, leaves [S, E, ...]; only their keys differ."""
        rows_SN = np.stack([split.all_rows() for split in self.task.splits])
        rows_SEN = np.repeat(rows_SN[:, None], self.config.shared_autoencoders, 1)
        count_SE = np.full(rows_SEN.shape[:2], rows_SEN.shape[2], np.int32)
        config = self.config.shared()
        return self._fit_images("shared", autoencoder, rows_SEN, count_SE, config)

    @functools.cached_property
    def shared_encodings(self) -> jax.Array:
        """All images' in every space that the classes share, [S, E, K, N, d]."""
        encode = functools.partial(_encode, config=self.config.shared())
        by_class = jax.vmap(encode, (None, None, 0))
        by_autoencoder = jax.vmap(by_class, (0, None, None))
        by_seed = jax.jit(jax.vmap(by_autoencoder, (0, None, 0)))
        return by_seed(self.shared.params, self.task.image_MX, self.task.rows_SKN)

    def encodings(self, space: str) -> spaces.Encodings:
        """What the samplers of a space learn from, leaves [*lead, ...]."""
        task = self.task
        if space == OWN:
            encode = functools.partial(_encode, config=self.config)
            by_class = jax.vmap(encode, (0, None, 0))
            by_seed = jax.jit(jax.vmap(by_class, (0, None, 0)))
            y_SKNd = by_seed(self.autoencoders.params, task.image_MX, task.rows_SKN)
            return jax.jit(jax.vmap(jax.vmap(spaces.standardize)))(
                y_SKNd, task.count_SK
            )
        if space == SHARED:
            by_class = jax.vmap(spaces.standardize)
            by_seed = jax.vmap(jax.vmap(by_class, (0, None)))
            return jax.jit(by_seed)(self.shared_encodings, task.count_SK)
        draw = functools.partial(spaces.moves, num_moves=self.config.num_moves)
        by_seed = jax.vmap(jax.vmap(draw, (0, 0, None)))
        keys_SE = task.keys("moves", self.config.shared_autoencoders)
        return jax.jit(by_seed)(keys_SE, self.shared_encodings, task.count_SK)

    def sampler(self, name: str, space: str) -> Any:
        """A latent sampler of every class, or of all moves: leaves [*lead, ...]."""
        if (name, space) not in self._samplers:
            self._samplers[name, space] = self._fit_sampler(name, space)
        return self._samplers[name, space]

    def _fit_images(
        self, use: str, module: ModuleType, rows: Any, count: Any, config: Config
    ) -> Any:
        """An `autoencoder` or `vae` for each of the rows [*lead, N]."""
        lead = count.shape
        init = functools.partial(module.init, config=config)
        members = self.task.keys(use, *lead[1:]), rows, count
        states_L = self._once(jax.vmap(init))(*(_flat(a, lead) for a in members))
        step = functools.partial(module.train_step, config=config)
        steps = config.autoencoder_steps
        states_L = self._train(use, states_L, step, steps, images=True)
        return jax.tree.map(lambda a: a.reshape(*lead, *a.shape[1:]), states_L)

    def _fit_sampler(self, name: str, space: str) -> Any:
        module, config = samplers.get(name), self.space_config(space)
        lead = self._leads[space]
        members = self.task.keys(name, *lead[1:]), self.encodings(space)
        keys_L, encodings_L = jax.tree.map(lambda a: _flat(a, lead), members)
        init = functools.partial(module.init, config=config)
        states_L = self._once(jax.vmap(init))(keys_L, encodings_L)
        if hasattr(module, "train_step"):
            step = functools.partial(module.train_step, config=config)
            steps = config.sampler_steps
            states_L = self._train(f"{name}{space}", states_L, step, steps)
            # Only training needs these, and a key would look used a second time.
            states_L = states_L.replace(key=None, opt_state=None)
        return jax.tree.map(lambda a: a.reshape(*lead, *a.shape[1:]), states_L)

    def _once(self, init: Any) -> Any:
        """Compiles what draws weights: quickly, but for MNIST, whose records exist."""
        quick = self.config.dataset != "mnist"
        options = parallel.compile_options_of_init() if quick else None
        return jax.jit(init, compiler_options=options)

    def _train(
        self,
        use: str,
        states_L: Any,
        step: parallel.Step,
        steps: int,
        *,
        images: bool = False,
    ) -> Any:
        """Trains the members of a stage, going on from what its folder holds."""
        devices, interval = jax.devices(), max(1, steps // 10)
        split = len(devices) if self._mode == "pmap" else 1
        run_steps = functools.partial(
            parallel.run_steps,
            functools.partial(step, num_devices=split),
            mode=self._mode,
            devices=devices,
            data=self.task.image_MX if images else None,
        )
        if self.costs is not None:
            self.costs[use] = cost_report.summarize(
                use,
                run_steps(interval, lower_only=True)(states_L),
                states_L.params,
                mode=self._mode,
                num_steps=interval,
            )
            return states_L
        per_seed = len(states_L.step) // len(self.task.seeds)
        labels = [
            f"{use} {member} of seed {seed}"
            for seed in self.task.seeds
            for member in range(per_seed)
        ]
        folder = self._workdir / use
        checkpoints = checkpoint.Checkpoints(folder / "checkpoints", keep=1)
        log = None
        try:
            done, states_L = checkpoints.restore(states_L)
            # One that diverged was left behind: named below, not taken as trained.
            if (np.asarray(states_L.step) == steps).all():
                return states_L
            log = (
                records.MetricsLog(folder, done)
                if distributed.is_main_process()
                else None
            )
            clock = [time.perf_counter()]

            def report(done: int, states_L: Any, metrics: dict) -> str:
                del states_L
                clock.append(time.perf_counter())
                seeds = len(self.task.seeds)
                by_seed = {n: v.reshape(seeds, -1).mean(1) for n, v in metrics.items()}
                log.write(done, clock[-1] - clock[-2], by_seed)
                return " ".join(f"{n} {v.mean():.3g}" for n, v in by_seed.items())

            states_L, failures = loop.train(
                states_L,
                done,
                run_steps,
                steps=steps,
                interval=interval,
                save_every=self._save_every,
                checkpoints=checkpoints,
                report=report,
                name=use,
                labels=labels,
            )
        finally:
            checkpoints.close()
            if log:
                log.close()
        if failures:
            words = (f"{labels[member]} {word}" for member, word in failures.items())
            raise loop.NonFinite("; ".join(words))
        return states_L


def _flat(a: Any, lead: tuple[int, ...]) -> Any:
    """[*lead, ...] -> [L, ...]."""
    return a.reshape(-1, *a.shape[len(lead) :])


def _encode(
    params: Any, image_MX: jax.Array, rows_N: jax.Array, *, config: Config
) -> jax.Array:
    """Encodings [N, d]."""
    x_NX = autoencoder.to_unit(jnp.asarray(image_MX)[rows_N])
    return autoencoder.encode(params, x_NX, config=config)
