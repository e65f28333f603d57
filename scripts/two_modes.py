"""The paper's Figure 1, computed instead of drawn: why VEEGAN needs both its terms.

    python scripts/two_modes.py
        Writes runs/two_modes/two_modes.png and results.json, in half a minute on two
        CPU cores, compilation included.

The data are two modes on a line and z ~ N(0, 1). There are three pairs (G, R):
  a  G covers one mode, and R is fitted to invert it. Nothing says where R sends the
     other mode, so R(data) is not N(0, 1).
  b  G is the same. R is fitted to map the data to N(0, 1), so it cannot return z.
  c  G and R are trained together by VEEGAN+.
Each pair is scored by the two terms of the paper's objective:
  reconstruction  E 1/2 (z - R(G(z)))^2                              at least 0
  data to noise   KL(N(0, 1) || density of R(x) + s noise), s = 0.1  at least 0
The second plus the entropy of N(0, 1), 1.419 nats, is the paper's cross entropy. With
F the data's distribution function, R = Phi^-1 F and its inverse G score 0 and 2.5e-5
(because of s). Expect a: 0 and about log 2 = 0.693, less if R happens to send the
other mode among the z; b: 0.420 and 0; c: sum 0.004 (seed 0) and 0.007 (seed 1).

G of a and b is fitted to its mode by least squares: on this easy line the plain GAN
forgot a mode in only 1 of 12 runs, so it does not collapse reliably.

Dimension key: N quadrature nodes, K modes.
"""

import functools
import pathlib
from typing import Any

import early  # noqa: F401
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

from veegan_jax import config as configs
from veegan_jax.common import figures, records
from veegan_jax.common import flags as common_flags
from veegan_jax.config import Config, Optimizer, Vectors
from veegan_jax.data import mixtures
from veegan_jax.experiments import base
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.methods import base as method_base
from veegan_jax.methods import veegan_plus
from veegan_jax.methods.base import TrainState
from veegan_jax.networks.configs import MLP
from veegan_jax.runtime import loop, parallel, program, workdirs

WORKDIR = common_flags.define_path("workdir", "runs/two_modes", "where everything goes")
# Seed 0 learns as well, but the mirror image of this map: its arrows cross.
SEED = common_flags.define_number(
    "seed", 1, "of every network and every noise", within="[0, 2**32)"
)
STEPS = common_flags.define_number(
    "steps", 4000, "training steps of VEEGAN+", within="[1, inf)"
)

TITLES = {
    "a": "(a) G fitted to one mode, R to invert G",
    "b": "(b) G fitted to one mode, R to map data to noise",
    "c": "(c) G and R trained by VEEGAN+",
}
MIXTURE = mixtures.get("two_modes")
PERFECT = "perfect: R = Phi^-1 F, G its inverse"
PURPLE, GREEN, GREY, BLACK = "#7b3fa0", "#2a9d4e", "#888888", "#222222"
EDGE = 4.4  # the figure shows z, x and R(x) from -EDGE to EDGE
FIT_STEPS = 1500  # of each least-squares fit, at most
STD = 0.1  # of the noise around R(x); without it R(x) need not have a density
# Expectations over N(0, 1) are sums over these nodes: no sampling noise anywhere.
NODE_N = np.linspace(-6, 6, 601)
WEIGHT_N = stats.norm.pdf(NODE_N) / stats.norm.pdf(NODE_N).sum()


def make_config(steps: int) -> Config:
    """Return VEEGAN+'s configuration for the two modes.

    Raises:
      InputError: if `steps` is not positive.
    """
    config = Config(
        "veegan_plus",
        MIXTURE.name,
        steps=steps,
        batch_size=256,
        latent_size=1,
        data=Vectors(1, scale=2.0),
        networks=MLP(
            generator_widths=(64, 64, 64),
            reconstructor_widths=(32, 32),
            discriminator_widths=(32, 32),
            activation="leaky_relu",
        ),
        objective=veegan_plus.Objective(
            adversarial_reconstructor=True, gamma=0.3, gamma_end=0.001
        ),
        optimizer=Optimizer(
            learning_rate=3e-3,
            learning_rate_d=3e-3,
            beta1=0.0,
            beta2=0.99,
            schedule="cosine",
            ema=0.99,  # short enough to forget the first steps in a short run
        ),
    )
    configs.check(config)
    return config


def data_nodes() -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of an expectation over the data."""
    x_KN = MIXTURE.means_KX + MIXTURE.sigma * NODE_N
    return x_KN.ravel(), np.tile(WEIGHT_N, len(x_KN)) / len(x_KN)


def optimal_code(x_N: np.ndarray) -> np.ndarray:
    """Compute Phi^-1(F(x)), the increasing map of the data to N(0, 1)."""
    standard_KN = (x_N - MIXTURE.means_KX) / MIXTURE.sigma
    below_N = stats.norm.cdf(standard_KN).mean(axis=0)
    above_N = stats.norm.sf(standard_KN).mean(axis=0)
    # Use the thinner tail: 1 - F loses all its digits where F is near 1.
    return np.where(below_N < 0.5, stats.norm.ppf(below_N), stats.norm.isf(above_N))


@functools.partial(jax.jit, static_argnames="config")
def outputs(state: TrainState, config: Config) -> dict[str, jax.Array]:
    """Compute G(z) and R(G(z)) at the nodes of z, and R(x) at those of the data."""
    z_N1 = jnp.asarray(NODE_N, jnp.float32)[:, None]
    x_N1 = jnp.asarray(data_nodes()[0], jnp.float32)[:, None]
    generated_N1 = veegan_plus.generate(state, z_N1, config=config)
    return {
        "generated": generated_N1[:, 0],
        "again": veegan_plus.reconstruct(state, generated_N1, config=config)[:, 0],
        "code": veegan_plus.reconstruct(state, x_N1, config=config)[:, 0],
    }


@functools.partial(jax.jit, static_argnames=("network", "config"))
def fit_network(
    state: TrainState,
    network: str,
    input_N: np.ndarray,
    target_N: np.ndarray,
    weight_N: np.ndarray,
    config: Config,
) -> TrainState:
    """Fit one network of the state, G or R, by weighted least squares."""
    apply = {
        "generator": veegan_plus.generate,
        "reconstructor": veegan_plus.reconstruct,
    }[network]
    optimizer = method_base.optimizer(config, network)

    def changed(params):
        ema = params if network == "generator" else state.ema  # `generate` reads ema
        return state.replace(params=state.params | {network: params}, ema=ema)

    def loss(params):
        output_N = apply(changed(params), input_N[:, None], config=config)[:, 0]
        return jnp.sum(weight_N * (output_N - target_N) ** 2)

    def step(carry, _):
        params, opt_state = carry
        updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    start = (state.params[network], state.opt_state[network])
    (params, _), _ = jax.lax.scan(step, start, length=config.steps)
    return changed(params)


def train(start: TrainState, config: Config) -> TrainState:
    """Train VEEGAN+ from a state of step 0.

    Raises:
      loop.NonFinite: if it diverges.
    """
    step = functools.partial(mixture_experiment.step_on_fresh_data, config=config)
    run = parallel.run_steps(step, config.steps, mode="none", devices=jax.devices()[:1])
    state, _ = run(jax.tree.map(lambda leaf: leaf[None], start))
    if state.step[0] != config.steps:
        raise loop.NonFinite("VEEGAN+ diverged; give another --seed")
    return jax.tree.map(lambda leaf: leaf[0], state)


def make_cases(seed: int, config: Config) -> dict[str, TrainState]:
    """Make the three pairs (G, R)."""
    start = jax.tree.map(lambda leaf: leaf[0], base.init_seeds([seed], config))
    fit = functools.partial(
        fit_network,
        config=config.replace(steps=min(config.steps, FIT_STEPS)),
    )
    one_mode_N = MIXTURE.means_KX[0] + MIXTURE.sigma * NODE_N
    collapsed = fit(start, "generator", NODE_N, one_mode_N, WEIGHT_N)
    x_N = outputs(collapsed, config)["generated"]
    data_N, weight_N = data_nodes()
    code_N = optimal_code(data_N)
    return {
        "a": fit(collapsed, "reconstructor", x_N, NODE_N, WEIGHT_N),
        "b": fit(collapsed, "reconstructor", data_N, code_N, weight_N),
        "c": train(start, config),
    }


def density(
    at_N: np.ndarray, points_N: np.ndarray, weight_N: np.ndarray, std: float
) -> np.ndarray:
    """Evaluate at `at_N` the density of weighted points with Gaussian noise."""
    return stats.norm.pdf(at_N[:, None], points_N, std) @ weight_N


def measure(again_N: np.ndarray, code_N: np.ndarray) -> dict[str, float]:
    """Compute the objective's terms, their sum, and W1 between R(data) and N(0, 1).

    Args:
      again_N: R(G(z)) at the nodes of z.
      code_N: R(x) at the nodes of the data.
    """
    weight_N = data_nodes()[1]
    # 1e-300 bounds the KL at 690 nats, for an R that sends all the data far away.
    density_N = density(NODE_N, code_N, weight_N, STD) + 1e-300
    reconstruction = 0.5 * WEIGHT_N @ (NODE_N - again_N) ** 2
    kl = WEIGHT_N @ (stats.norm.logpdf(NODE_N) - np.log(density_N))
    return {
        "reconstruction": float(reconstruction),
        "data_to_noise": float(kl),
        "sum": float(reconstruction + kl),
        "w1": float(stats.wasserstein_distance(code_N, NODE_N, weight_N, WEIGHT_N)),
    }


@figures.own_style()
def draw(
    cases: dict[str, dict[str, np.ndarray]],
    metrics: dict[str, dict[str, float]],
    path: pathlib.Path,
) -> None:
    """Draw the cases side by side, with the two terms of each below it."""
    figure = figures.new_figure(figsize=(13, 8), layout="constrained")
    grid = figure.subplots(2, 3, height_ratios=(6.5, 1))
    longest = max(m["sum"] for m in metrics.values())
    for (case, out), (top, bottom) in zip(cases.items(), grid.T, strict=True):
        draw_maps(top, out)
        top.set_title(TITLES[case], fontsize=12)
        values = [metrics[case][n] for n in ("data_to_noise", "reconstruction")]
        bars = bottom.barh((0, 1), values, color=(PURPLE, GREEN), height=0.6)
        bottom.bar_label(bars, fmt="%.3f", padding=4)
        bottom.set_xlim(0, 1.2 * longest)
        bottom.set_yticks((0, 1), ["", ""])
        bottom.set_title(f"sum {metrics[case]['sum']:.3f} (lower bound 0)", fontsize=11)
        bottom.spines[["top", "right"]].set_visible(False)
    names = ("KL( N(0,1) || R(data) )", "E ½ ( z - R(G(z)) )²")
    grid[1, 0].set_yticks((0, 1), names)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figures.save(figure, path, dpi=150)


def draw_maps(axis: Any, out: dict[str, np.ndarray]) -> None:
    """Draw the axes of z, x and R's output, and the arrows between them."""
    data_N, weight_N = data_nodes()
    at_N = np.linspace(-EDGE, EDGE, 1001)
    normal_N = stats.norm.pdf(at_N)
    # G jumps from mode to mode: finer nodes fill the gap.
    z_N = np.linspace(-6, 6, 4801)
    fine_N = stats.norm.pdf(z_N) / stats.norm.pdf(z_N).sum()
    x_N = np.interp(z_N, NODE_N, out["generated"])
    curves = (  # level, height of density 1, density, colour, label
        (0, 2.2, normal_N, GREY, None),
        (2, 0.5, density(at_N, data_N, weight_N, 0.05), PURPLE, "true x and its R(x)"),
        (2, 0.5, density(at_N, x_N, fine_N, 0.05), GREEN, "generated G(z) and R(G(z))"),
        (4.6, 2.2, density(at_N, out["code"], weight_N, STD), PURPLE, None),
        (4.6, 2.2, density(at_N, out["again"], WEIGHT_N, STD), GREEN, None),
    )
    for level, height, density_N, colour, label in curves:
        top_N = level + height * density_N
        axis.fill_between(
            at_N, level, top_N, color=colour, alpha=0.22, linewidth=0, label=label
        )
        axis.plot(at_N, top_N, color=colour, linewidth=1.3)
    axis.plot(
        at_N, 4.6 + 2.2 * normal_N, "--", color=BLACK, linewidth=1, label="N(0, 1)"
    )
    z_N = np.array([-1.9, -1.2, -0.7, -0.25, 0.25, 0.7, 1.2, 1.9])
    fake_N = np.interp(z_N, NODE_N, out["generated"])
    again_N = np.interp(z_N, NODE_N, out["again"])
    x_N = (MIXTURE.means_KX + MIXTURE.sigma * np.array([-1.4, -0.5, 0.5, 1.4])).ravel()
    code_N = np.interp(x_N, data_N, out["code"])
    arrows = (  # from, its level, to, its level, colour
        (z_N, 0.95, fake_N, 1.74, BLACK),
        (x_N, 3.1, code_N, 4.34, PURPLE),
        (fake_N, 3.1, again_N, 4.34, GREEN),
    )
    for start_N, low, end_N, high, colour in arrows:
        style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0}
        for start, end in zip(start_N, np.clip(end_N, -EDGE, EDGE), strict=True):
            axis.annotate("", (end, high), (start, low), arrowprops=style)
    away_N = code_N[np.abs(code_N) > EDGE]
    if away_N.size:  # outside the figure: write where
        side = "right" if away_N.mean() > 0 else "left"
        message = f"R(x) from\n{away_N.min():.0f} to {away_N.max():.0f}"
        at = EDGE if side == "right" else -EDGE
        axis.text(at, 4.75, message, color=PURPLE, ha=side, fontsize=10)
    for level, name in ((0, "z"), (2, "x"), (4.6, "R(x)")):
        axis.axhline(level, color=BLACK, linewidth=0.8)
        axis.text(-EDGE - 0.2, level, name, ha="right", va="center", fontsize=12)
        for tick in (-4, -2, 0, 2, 4):
            axis.text(tick, level - 0.04, tick, ha="center", va="top", fontsize=8)
    for level, name in ((1.35, "G"), (3.7, "R")):
        axis.text(-EDGE, level, f"↑ {name}", fontsize=12, va="center")
    axis.set(xlim=(-EDGE - 0.1, EDGE + 0.1), ylim=(-0.3, 6.7))
    axis.set_axis_off()


def main() -> None:
    config, workdir = make_config(STEPS.value), pathlib.Path(WORKDIR.value)
    identity = configs.to_json(config) | {"seed": SEED.value}
    workdirs.claim(workdir, identity)
    states_of = make_cases(SEED.value, config)
    cases = {
        case: jax.device_get(outputs(state, config))
        for case, state in states_of.items()
    }
    metrics = {c: measure(out["again"], out["code"]) for c, out in cases.items()}
    metrics["perfect"] = measure(NODE_N, optimal_code(data_nodes()[0]))
    draw(cases, metrics, workdir / "two_modes.png")
    record = records.provenance() | {"config": identity, "cases": metrics}
    records.write(workdir / "results.json", record)
    names = list(metrics["perfect"])
    rows = [
        [TITLES.get(case, PERFECT), *[f"{values[n]:.4f}" for n in names]]
        for case, values in metrics.items()
    ]
    print(records.table(["", *[n.replace("_", " ") for n in names]], rows))
    print(f"Neither term can be below 0. Figure and results.json: {workdir}")


if __name__ == "__main__":
    program.run(main)
