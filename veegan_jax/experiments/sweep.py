"""Many hyper-parameters at once: variants and seeds as members of one program.

Fields that enter the arithmetic alone become arrays, an entry for each member; what
shapes the program (sizes, steps, methods) is the same for all. Members spread over
devices as seeds do: `vmap` inside a device, devices outside.

Dimension key: V variants, S seeds, M members (V * S, variant by variant), N samples,
X data dimensions.
"""

import dataclasses
import functools
import itertools
import pathlib
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors, metrics_log, records
from veegan_jax.config import Config
from veegan_jax.experiments import base, diverged, stored
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.methods.base import TrainState
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.runtime import distributed, numerics, rng
from veegan_jax.runtime.run import Run

FIELDS = (
    "learning_rate",
    "learning_rate_d",
    "beta1",
    "beta2",
    "reconstruction_weight",
    "reconstructor_std",
    "gamma",
    "gamma_end",
    "penalty_scale",
    "data_reconstruction_weight",
    "reconstruction_realism",
    "diversity_weight",
    "information_weight",
    "slope_weight",
    "score_weight",
    "logit_gain",
)
Variant = dict[str, float]  # field -> value


@flax.struct.dataclass
class Member:
    """One seed of one variant."""

    state: TrainState
    values: dict[str, jax.Array]  # of the fields that vary; never changed

    @property
    def step(self) -> jax.Array:
        """Steps taken."""
        return self.state.step

    @property
    def params(self) -> Any:
        """Parameters by network."""
        return self.state.params


def variants(config: Config, grid: dict[str, tuple[float, ...]]) -> list[Variant]:
    """Every combination of the values, the last field's changing fastest.

    Args:
      config: the other fields.
      grid: field -> its values, each once.

    Raises:
      InputError: for a field that cannot vary, no or repeated values, or a combination
        that `Config` refuses.
    """
    for name, values in grid.items():
        if name not in FIELDS:
            raise errors.InputError(
                f"--vary={name}: must be one of {', '.join(FIELDS)}; what shapes the "
                "program needs a run of its own"
            )
        if not values or len(set(values)) < len(values):
            raise errors.InputError(f"--vary={name}: give different values")
    found = [
        dict(zip(grid, values, strict=True))
        for values in itertools.product(*grid.values())
    ]
    for variant in found:
        configs.check(config.replace(**variant))
    return found


def init_members(config: Config, found: list[Variant], options: base.Options) -> Member:
    """The members before the first step, leaves [M, ...]; seeds start alike."""
    seeds = options.seed_numbers()
    states = base.init_seeds(seeds, config)
    index_M = np.tile(np.arange(len(seeds)), len(found))
    values = {
        name: jnp.asarray(np.repeat([v[name] for v in found], len(seeds)), jnp.float32)
        for name in found[0]
    }
    return Member(jax.tree.map(lambda leaf: leaf[index_M], states), values)


def member_step(
    member: Member, axis_name: str | None, *, config: Config
) -> tuple[Member, Any]:
    """A mixture's training step with the member's own hyper-parameters."""
    state, losses = mixture_experiment.step_on_fresh_data(
        member.state,
        axis_name,
        config=config.replace(**member.values),  # arrays, checked as floats before
    )
    return member.replace(state=state), losses


def ignored(config: Config, variant: Variant) -> list[str]:
    """Fields that a step of this configuration does not read."""
    init = functools.partial(methods.get(config.method).init, config=config)
    state = jax.eval_shape(init, rng.key(0))
    values = {name: jnp.float32(value) for name, value in variant.items()}
    step = functools.partial(member_step, axis_name=None, config=config)
    jaxpr = jax.make_jaxpr(lambda *of: step(Member(*of[::-1])))(values, state).jaxpr
    used = {id(var) for eqn in jaxpr.eqns for var in eqn.invars}
    inputs = zip(sorted(values), jaxpr.invars, strict=False)  # a dict's leaves, first
    return [name for name, var in inputs if id(var) not in used]


def check(
    config: Config, grid: dict[str, tuple[float, ...]], options: base.Options
) -> None:
    """Refuse a sweep that could not be carried out.

    Raises:
      InputError: see `variants` and `base.check`; or for a field that is not read.
    """
    found = variants(config, grid)
    mixture_experiment.check_config(config, options, len(found))
    if idle := ignored(config, found[0]):
        raise errors.InputError(
            f"--vary={idle[0]}: {config.method} does not read it, as it is configured"
        )


def prepare(
    config: Config,
    grid: dict[str, tuple[float, ...]],
    options: base.Options,
    workdir: pathlib.Path | None,
) -> Run:
    """Bind a sweep to a training run whose members are all variants and seeds.

    Args:
      config: what does not vary.
      grid: see `variants`.
      options: how to run it.
      workdir: see `run`; None for a dry run.
    """
    found = variants(config, grid)

    def report(done: int, member: Member, step_metrics: dict) -> tuple[dict, str]:
        del done, step_metrics
        metrics = score(member, config, options)
        del metrics["histogram"]
        summary = mixture_experiment.summary(metrics)
        return metrics, f"{len(found)} variants, {summary}"

    def meanwhile(member: Member) -> None:
        mixture_experiment.compile_report(config, options.samples, member.state)

    return base.prepare(
        config,
        options,
        functools.partial(member_step, config=config),
        report,
        workdir=workdir,
        meanwhile=meanwhile,
        init=functools.partial(init_members, config, found, options),
        labels=[
            f"{describe(variant)}, seed {seed}"
            for variant in found
            for seed in options.seed_numbers()
        ],
    )


def score(
    member: Member, config: Config, options: base.Options
) -> dict[str, np.ndarray]:
    """Return every member's mixture metrics, [M] each."""
    x_MNX = mixture_experiment.draw(
        member.state, config=config, num_samples=options.samples
    )
    return jax.tree.map(np.asarray, mixture_experiment.score(x_MNX, config.dataset))


def dry_run(
    config: Config, grid: dict[str, tuple[float, ...]], options: base.Options
) -> str:
    """Return what a step of all members would cost.

    Raises:
      InputError: see `check`.
    """
    check(config, grid, options)
    return prepare(config, grid, options, None).dry_run()


@numerics.standard
def run(
    config: Config,
    grid: dict[str, tuple[float, ...]],
    options: base.Options,
    workdir: pathlib.Path,
) -> dict[str, Any]:
    """Train all members, resuming what the work directory holds, and record them.

    Args:
      config: what does not vary.
      grid: see `variants`.
      options: how to run it.
      workdir: gets config.json, checkpoints, metrics.jsonl, TensorBoard events and
        results.json.

    Returns:
      The record: "variants" is a list of the values, each seed's metrics, their mean
      and spread.

    Raises:
      InputError: before anything is written.
      loop.Interrupted, loop.NonFinite: see `loop.train`.
    """
    clock = metrics_log.Clock(workdir)
    check(config, grid, options)
    stored.claim(workdir, config, options, {"vary": grid})
    members, failures = prepare(config, grid, options, workdir).train()

    def finish() -> dict[str, Any]:
        metrics = score(members, config, options)
        found = variants(config, grid)
        record = make_record(config, found, options, metrics, failures, clock)
        records.write(workdir / "results.json", record)
        return record

    return distributed.on_main_process(finish)


def failures(workdir: pathlib.Path, record: dict[str, Any]) -> list[str]:
    """Return one line for each seed of each variant that diverged."""
    return [
        line
        for row in record["variants"]
        for line in diverged.lines(f"{workdir}: {describe(row['values'])}", row)
    ]


def describe(variant: Variant) -> str:
    """Describe a variant by its values."""
    return ", ".join(f"{name}={value:g}" for name, value in variant.items())


def make_record(
    config: Config,
    found: list[Variant],
    options: base.Options,
    metrics: dict[str, np.ndarray],
    failures: dict[int, str],
    clock: metrics_log.Clock,
) -> dict[str, Any]:
    """Return a sweep's results and all that repeats them; metrics are [M]."""
    names = [n for n in mixture_metrics.METRICS if n in metrics]
    rows = []
    for v, variant in enumerate(found):
        own = slice(v * options.seeds, (v + 1) * options.seeds)
        failed = {i - own.start: w for i, w in failures.items() if i in _places(own)}
        of_variant = {n: metrics[n][own] for n in names}
        seeds = base.by_seed(of_variant, names, options, failed)
        rows.append({"values": variant, **seeds})
    true = mixture_experiment.oracle(config.dataset, options.samples)
    return {
        **records.provenance(),
        "config": configs.to_json(config),
        "options": dataclasses.asdict(options),
        "wall_seconds": clock.seconds(),
        "variants": rows,
        "oracle": {n: records.number(true[n].mean()) for n in names},
    }


def _places(own: slice) -> range:
    return range(own.start, own.stop)


def table(record: dict[str, Any]) -> str:
    """A sweep's results as Markdown, the oracle first; seeds that diverged are told."""
    names = list(record["oracle"])
    fields = list(record["variants"][0]["values"])
    rows = [["oracle", *[""] * (len(fields) - 1)]]
    rows[0] += [records.cell(record["oracle"][n]) for n in names]
    for row in record["variants"]:
        cells = [records.cell(row["mean"][n], row["std"][n]) for n in names]
        rows.append([*[f"{v:g}" for v in row["values"].values()], *cells])
        if num := sum("failed" in seed for seed in row["per_seed"]):
            rows[-1][len(fields) - 1] += f" ({num} of {len(row['per_seed'])} diverged)"
    metrics = [record["oracle"], *[row["mean"] for row in record["variants"]]]
    why = records.why_empty(metrics, mixture_metrics.UNDEFINED)
    return records.table([*fields, *[n.replace("_", " ") for n in names]], rows) + why
