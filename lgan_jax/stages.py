"""Stages: the models of all seeds, trained one kind after the other.

    names = generators.stages(["lgan", "lgan_moves"])
    models = stages.train(task, config, names, workdir)
    x_KGX = generation.generate(models, "lgan", 0, 100)

A stage (an autoencoder, a sampler) is one program over all seeds and classes. It keeps
its own checkpoint in the work directory. A stopped stage continues to the same bits; a
finished one is only read.

Dimension key: S seeds, E shared autoencoders, K classes, L members of a stage (all
of its leading axes), M images of the data set, N images of a class, X numbers of an
image, d encoding.
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lgan_jax import autoencoder, encodings, samplers, train_state, vae
from lgan_jax.config import Config
from lgan_jax.encodings import Encodings
from lgan_jax.generators import MOVES, OWN, SHARED, split_name
from lgan_jax.task import Task
from lgan_jax.train_state import Rows, TrainState
from veegan_jax.common import metrics_log
from veegan_jax.runtime import loop, numerics, parallel
from veegan_jax.runtime.run import Init, Metrics, Run


@dataclasses.dataclass(frozen=True, eq=False)
class Models:
    """Trained models: what generation and figures read.

    States and encodings have the leading axes [S, K] where each class has its own
    autoencoder, [S, E] for `shared` itself and for moves, and [S, E, K] for samplers of
    a class in a shared space.
    """

    task: Task
    config: Config
    states: dict[str, Any]  # by stage, without keys and optimizer states
    encodings: dict[str, Encodings]  # by space: what its samplers learned from
    shared_encodings: jax.Array | None  # [S, E, K, N, d], if `shared` is a stage


Fit = Callable[[Run], TrainState]  # the run of a stage -> its states, trained or not


@numerics.standard
def train(
    task: Task,
    config: Config,
    names: Sequence[str],
    workdir: pathlib.Path,
    *,
    mode: str = "none",
    save_every: float = 60.0,
) -> Models:
    """Train stages in order, or read those that are finished.

    Args:
      task: the data.
      config: what to train.
      names: from `generators.stages`.
      workdir: gets a folder of checkpoints and metrics for every stage.
      mode: see `parallel.run_steps`.
      save_every: seconds between checkpoints.

    Raises:
      loop.Interrupted, loop.NonFinite: see `loop.train`.
    """

    def fit(run: Run) -> TrainState:
        run = dataclasses.replace(
            run, workdir=workdir / run.name, mode=mode, save_every=save_every
        )
        states_L, failures = run.train()
        if failures:
            told = (f"{run.labels[i]} {message}" for i, message in failures.items())
            raise loop.NonFinite("; ".join(told), states_L)
        return states_L

    return _follow(task, config, names, fit)


def dry_run(
    task: Task, config: Config, names: Sequence[str], *, mode: str = "none"
) -> str:
    """Compile stages, train nothing and write nothing.

    Args: see `train`.

    Returns:
      The cost of a step of each: parameters, arithmetic, memory and communication.
    """
    costs: list[str] = []

    def fit(run: Run) -> TrainState:
        states_L = run.init()
        run = dataclasses.replace(run, mode=mode, init=lambda: states_L)
        costs.append(run.dry_run())
        return states_L

    _follow(task, config, names, fit)
    return "\n".join(costs)


def space_config(config: Config, space: str) -> Config:
    """Return the configuration of the autoencoders and samplers of a space."""
    return config if space == OWN else config.shared()


def seconds(names: Sequence[str], workdir: pathlib.Path) -> float | None:
    """Return the time that the training of stages took; None if a log lacks some."""
    return metrics_log.wall_seconds(*(workdir / name for name in names))


def _follow(task: Task, config: Config, names: Sequence[str], fit: Fit) -> Models:
    """Fit stages one after the other: a sampler learns from its autoencoders."""
    states: dict[str, Any] = {}
    learned_from: dict[str, Encodings] = {}  # by space
    y_SEKNd = None
    for name in names:
        if name in ("autoencoder", "vae"):
            rows, count = task.rows_SKN, task.count_SK
            states[name] = _fit_images(name, rows, count, task, config, fit)
            if name == "autoencoder":
                learned_from[OWN] = _own_encodings(states[name], task, config)
        elif name == "shared":
            rows_SN = np.stack([split.all_rows() for split in task.splits])
            rows_SEN = np.repeat(rows_SN[:, None], config.shared_autoencoders, 1)
            count_SE = np.full(rows_SEN.shape[:2], rows_SEN.shape[2], np.int32)
            of_shared = config.shared()
            states[name] = _fit_images(name, rows_SEN, count_SE, task, of_shared, fit)
            y_SEKNd = _encode_shared(states[name], task, of_shared)
        else:
            space = split_name(name)[1]
            if space == SHARED and space not in learned_from:
                learned_from[space] = _standardized(y_SEKNd, task)
            if space == MOVES and space not in learned_from:
                learned_from[space] = _moves(y_SEKNd, task, config)
            of_space = space_config(config, space)
            states[name] = _fit_sampler(name, learned_from[space], task, of_space, fit)
    return Models(task, config, states, learned_from, y_SEKNd)


def _fit_images(
    name: str,
    rows: np.ndarray,
    count: np.ndarray,
    task: Task,
    config: Config,
    fit: Fit,
) -> TrainState:
    """Fit an autoencoder, or VAE, to each of the rows [*lead, N] of images."""
    module = vae if name == "vae" else autoencoder
    lead = count.shape
    members = _flat((task.keys(name, *lead[1:]), Rows(rows, count)), lead)
    init = jax.vmap(functools.partial(module.init, config=config))

    def step(image_MX, state, axis_name=None):
        size = config.autoencoder_batch // parallel.size(axis_name)
        x_BX = train_state.batch_of_images(state, image_MX, size, axis_name)
        return module.train_step(state, x_BX, config=config, axis_name=axis_name)

    run = _run(
        name,
        task,
        math.prod(lead[1:]),
        init=Init(_jit_once(init, config), members),
        step=step,
        steps=config.autoencoder_steps,
        data=task.image_MX,
    )
    return _folded(fit(run), lead)


def _fit_sampler(
    name: str, learned_from: Encodings, task: Task, config: Config, fit: Fit
) -> Any:
    """Fit a latent sampler to each of the encodings, leaves [*lead, ...]."""
    sampler = split_name(name)[0]
    module, lead = samplers.get(sampler), learned_from.count.shape
    members = _flat((task.keys(sampler, *lead[1:]), learned_from), lead)
    init = jax.vmap(functools.partial(module.init, config=config))
    init = Init(_jit_once(init, config), members)
    if not hasattr(module, "train_step"):
        states_L = init()
        return jax.tree.map(lambda a: a.reshape(*lead, *a.shape[1:]), states_L)

    def step(state, axis_name=None):
        size = config.sampler_batch // parallel.size(axis_name)
        y_Bd = train_state.batch_of_encodings(state, size, axis_name)
        return module.train_step(state, y_Bd, config=config, axis_name=axis_name)

    run = _run(
        name,
        task,
        math.prod(lead[1:]),
        init=init,
        step=step,
        steps=config.sampler_steps,
    )
    return _folded(fit(run), lead)


def _run(
    name: str,
    task: Task,
    members_per_seed: int,
    *,
    init: Init,
    step: parallel.Step,
    steps: int,
    data: Any = None,
) -> Run:
    """Describe the training of a stage's members; its metrics are means over seeds."""
    seeds = len(task.seeds)

    def report(done: int, states_L: TrainState, metrics_L: Metrics) -> Any:
        del done, states_L
        by_seed = {n: x_L.reshape(seeds, -1).mean(1) for n, x_L in metrics_L.items()}
        message = " ".join(f"{n} {x_S.mean():.3g}" for n, x_S in by_seed.items())
        return by_seed, message

    return Run(
        name=name,
        init=init,
        step=step,
        steps=steps,
        interval=max(1, steps // 10),
        labels=[
            f"{name} {member} of seed {seed}"
            for seed in task.seeds
            for member in range(members_per_seed)
        ],
        data=data,
        keep=1,
        report=report,
    )


def _jit_once(init: Any, config: Config) -> Any:
    """Compile what draws weights: quickly, except for MNIST, which has records."""
    quick = config.dataset != "mnist"
    options = parallel.compile_options_of_init() if quick else None
    return jax.jit(init, compiler_options=options)


def _flat(tree: Any, lead: tuple[int, ...]) -> Any:
    """[*lead, ...] -> [L, ...]."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[len(lead) :]), tree)


def _folded(states_L: TrainState, lead: tuple[int, ...]) -> TrainState:
    """[L, ...] -> [*lead, ...], without what only training needs."""
    # A key that is kept would look used a second time.
    states_L = states_L.replace(key=None, opt_state=None)
    return jax.tree.map(lambda a: a.reshape(*lead, *a.shape[1:]), states_L)


def _encode(
    state: TrainState, image_MX: jax.Array, rows_N: jax.Array, *, config: Config
) -> jax.Array:
    """Encodings [N, d]."""
    x_NX = train_state.to_unit(jnp.asarray(image_MX)[rows_N])
    return autoencoder.encode(state, x_NX, config=config)


def _own_encodings(state_SK: TrainState, task: Task, config: Config) -> Encodings:
    """Encode each class's images by its own autoencoder; leaves [S, K, ...]."""
    by_class = jax.vmap(functools.partial(_encode, config=config), (0, None, 0))
    by_seed = jax.jit(jax.vmap(by_class, (0, None, 0)))
    y_SKNd = by_seed(state_SK, task.image_MX, task.rows_SKN)
    return jax.jit(jax.vmap(jax.vmap(encodings.standardize)))(y_SKNd, task.count_SK)


def _encode_shared(state_SE: TrainState, task: Task, config: Config) -> jax.Array:
    """Encode all known images in every space that the classes share: [S, E, K, N, d]"""
    by_class = jax.vmap(functools.partial(_encode, config=config), (None, None, 0))
    by_autoencoder = jax.vmap(by_class, (0, None, None))
    by_seed = jax.jit(jax.vmap(by_autoencoder, (0, None, 0)))
    return by_seed(state_SE, task.image_MX, task.rows_SKN)


def _standardized(y_SEKNd: jax.Array, task: Task) -> Encodings:
    """Centre and scale each class's shared encodings; leaves [S, E, K, ...]."""
    by_class = jax.vmap(encodings.standardize)
    by_seed = jax.vmap(jax.vmap(by_class, (0, None)))
    return jax.jit(by_seed)(y_SEKNd, task.count_SK)


def _moves(y_SEKNd: jax.Array, task: Task, config: Config) -> Encodings:
    """Draw moves between the shared encodings; leaves [S, E, ...]."""
    draw = functools.partial(encodings.moves, num_moves=config.num_moves)
    by_seed = jax.vmap(jax.vmap(draw, (0, 0, None)))
    keys_SE = task.keys("moves", config.shared_autoencoders)
    return jax.jit(by_seed)(keys_SE, y_SEKNd, task.count_SK)
