"""The public JAX way, as a peer: flax's TrainState, one jitted step a batch.

Written as flax's own examples are: nn.Conv, nn.ConvTranspose and nn.BatchNorm, optax,
`value_and_grad` of each loss, the state donated, batches made by NumPy on the host, a
loop in Python. One seed, float32. `check` shows that it computes our step.

Dimension key: B batch, Z latent, X data dimensions, N digits, K modes.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax_networks
import given_noise
import jax
import jax.numpy as jnp
import numpy as np
import optax
import timing
from flax.training import train_state
from jax.nn import softplus

from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.methods.base import TrainState
from veegan_jax.networks import configs

METHODS = {configs.MLP: ("gan", "veegan"), configs.DCGAN: ("gan",)}


class State(train_state.TrainState):
    """One network's parameters, optimizer and running BatchNorm moments."""

    batch_stats: Any


def make(config: Config, ours: TrainState) -> dict[str, Any]:
    """Make the peer's states: a TrainState for each network, and G's average.

    Args:
      config: what to train.
      ours: the run to continue: its parameters and Adam's moments.
    """
    adam, found = config.optimizer, {}
    z_BZ, x_BX = jnp.zeros(config.latent_shape(1)), config.examples()
    inputs = {"generator": [z_BZ], "reconstructor": [x_BX], "discriminator": [x_BX]}
    if config.method == "veegan":
        inputs["discriminator"] = [z_BZ[:, : config.latent_size], x_BX]
    for name, network in flax_networks.make(config).items():
        rate = adam.learning_rate
        rate = adam.learning_rate_d if name == "discriminator" else rate
        if adam.schedule == "cosine":
            rate = optax.cosine_decay_schedule(rate, config.steps)
        variables = network.init(jax.random.key(0), *inputs[name])
        state = State.create(
            apply_fn=network.apply,
            params=variables["params"],
            tx=optax.adam(rate, adam.beta1, adam.beta2),
            batch_stats=variables.get("batch_stats", {}),
        )
        # Names differ (BatchMoments, BatchNorm), but not the order.
        values = ours.step, ours.params[name], ours.opt_state[name]
        step, params, opt_state = (
            jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(value))
            for like, value in zip(
                (0, state.params, state.opt_state), values, strict=True
            )
        )
        found[name] = state.replace(step=step, params=params, opt_state=opt_state)
    found["average"] = ours.ema
    return jax.tree.map(jnp.copy, found)  # the steps donate them


def _apply(state: State, params: Any, *inputs: jax.Array) -> tuple[jax.Array, Any]:
    variables = {"params": params, "batch_stats": state.batch_stats}
    out, updates = state.apply_fn(variables, *inputs, mutable=["batch_stats"])
    return out, updates.get("batch_stats", {})


def update_gan(states, x, z, *, config: Config, turn_of_d: bool):
    """Update G, and D in its turn, both from the parameters before the step."""
    g, d = states["generator"], states["discriminator"]

    def loss_of_d(params):
        fake, _ = _apply(g, g.params, z)
        (real_logit, _), (fake_logit, stats) = (_apply(d, params, a) for a in (x, fake))
        return softplus(-real_logit).mean() + softplus(fake_logit).mean(), stats

    def loss_of_g(params):
        fake, stats = _apply(g, params, z)
        logit, _ = _apply(d, d.params, fake)
        return softplus(-logit).mean(), stats

    (loss_g, stats), grads = jax.value_and_grad(loss_of_g, has_aux=True)(g.params)
    new = {"generator": g.apply_gradients(grads=grads, batch_stats=stats)}
    losses = {"loss_g": loss_g}
    if turn_of_d:
        (loss_d, stats), grads = jax.value_and_grad(loss_of_d, has_aux=True)(d.params)
        new["discriminator"] = d.apply_gradients(grads=grads, batch_stats=stats)
        losses["loss_d"] = loss_d
    return _average(states | new, config), losses


def update_veegan(states, x, latent, code_noise, *, config: Config, turn_of_d: bool):
    """Update D, G and R, all from the parameters before the step."""
    del turn_of_d  # always
    g, r, d = (states[n] for n in ("generator", "reconstructor", "discriminator"))
    z = latent[:, : config.latent_size]

    def loss_of_d(params):
        fake, _ = _apply(g, g.params, latent)
        code, _ = _apply(r, r.params, x)
        code += config.objective.reconstructor_std * code_noise
        (fake_logit, _), (real_logit, _) = (
            _apply(d, params, *pair) for pair in ((z, fake), (code, x))
        )
        return softplus(-fake_logit).mean() + softplus(real_logit).mean()

    def loss_of_gr(params_g, params_r):
        fake, _ = _apply(g, params_g, latent)
        code, _ = _apply(r, params_r, fake)
        reconstruction = 0.5 * ((z - code) ** 2).sum(axis=1).mean()
        logit, _ = _apply(d, d.params, z, fake)
        weight = config.objective.reconstruction_weight
        return logit.mean() + weight * reconstruction, reconstruction

    loss_d, grads_d = jax.value_and_grad(loss_of_d)(d.params)
    (loss_gr, reconstruction), (grads_g, grads_r) = jax.value_and_grad(
        loss_of_gr, argnums=(0, 1), has_aux=True
    )(g.params, r.params)
    new = {
        "generator": g.apply_gradients(grads=grads_g),
        "reconstructor": r.apply_gradients(grads=grads_r),
        "discriminator": d.apply_gradients(grads=grads_d),
    }
    losses = dict(loss_d=loss_d, loss_gr=loss_gr, reconstruction=reconstruction)
    return _average(states | new, config), losses


def _average(states, config: Config):
    if states["average"] is None:
        return states
    g = states["generator"]
    decay = jnp.minimum(config.optimizer.ema, g.step / (9 + g.step))
    average = optax.incremental_update(g.params, states["average"], 1 - decay)
    return states | {"average": average}


def noise_shapes(config: Config) -> list[tuple[int, int]]:
    """Return the shapes of one step's normals, in the order of our method."""
    shapes = [config.latent_shape(config.batch_size)]
    if config.method == "veegan":
        shapes.append((config.batch_size, config.latent_size))
    return shapes


def update_of(config: Config) -> Callable:
    """Return the update of a configuration's method."""
    updates = {"gan": update_gan, "veegan": update_veegan}
    return functools.partial(updates[config.method], config=config)


def batches(config: Config, digits_NHW: np.ndarray | None) -> Callable[[], np.ndarray]:
    """Return a function that makes a batch on the host, float32."""
    random, rows = np.random.default_rng(0), config.batch_size
    if digits_NHW is None:
        mixture = mixtures.get(config.dataset)
        modes, size = mixture.means_KX.shape
        live = np.arange(size) < mixture.live_size

        def of_mixture() -> np.ndarray:
            noise = random.standard_normal((rows, size), np.float32) * live
            mean = mixture.means_KX[random.integers(modes, size=rows)]
            return mean + np.float32(mixture.sigma) * noise

        return of_mixture
    num = config.data.num_stacks
    stacks = random.integers(len(digits_NHW), size=(num, 3)) if num else None

    def of_digits() -> np.ndarray:
        if stacks is None:
            index_B3 = random.integers(len(digits_NHW), size=(rows, 3))
        else:
            index_B3 = stacks[random.integers(num, size=rows)]
        x_BHWC = digits_NHW[index_B3].transpose(0, 2, 3, 1)
        return x_BHWC.astype(np.float32) / np.float32(127.5) - 1

    return of_digits


def is_turn_of_d(config: Config, step: int) -> bool:
    """Return whether D is updated in a step."""
    return step % config.optimizer.discriminator_every == 0


def check(
    config: Config, state: TrainState, digits_NHW: Any = None, warm_up: int = 30
) -> float:
    """Train the peer and ours side by side on the same weights, batches and noise.

    Args:
      config: what to train.
      state: where ours begins.
      digits_NHW: uint8, what is stacked, for images.
      warm_up: steps that ours takes first; an even number. (At step 0 Adam moves by the
        gradient's sign, and turns the rounding of a gradient near 0 into a whole step.)

    Returns:
      The largest relative error of the first step's losses.

    Raises:
      given_noise.Mismatch: if the two differ.
    """
    draw, random = batches(config, digits_NHW), np.random.default_rng(1)
    update = jax.jit(update_of(config), static_argnames="turn_of_d")
    ours = state
    with jax.default_matmul_precision("highest"):
        step = given_noise.step_on_given_noise(config)
        for i in range(warm_up + 4):
            if i == warm_up:
                start, theirs = ours, make(config, ours)
            x = draw()
            noise = [random.standard_normal(n, "float32") for n in noise_shapes(config)]
            ours, expected = step(ours, x, *noise)
            if i < warm_up:
                continue
            turn = is_turn_of_d(config, i)
            theirs, losses = update(theirs, x, *noise, turn_of_d=turn)
            if i == warm_up:
                errors = given_noise.compare_losses(config, losses, expected)

    def flat(tree: Any) -> np.ndarray:
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])

    trees = {
        n: (theirs[n].params, start.params[n], ours.params[n]) for n in ours.params
    }
    if ours.ema is not None:
        trees["average"] = theirs["average"], start.ema, ours.ema
    for name, (peer, before, after) in trees.items():
        what = f"{config.method}: the {name}"
        ends = dict(start=flat(before), end=flat(after))
        given_noise.compare_moves(what, flat(peer), **ends)
    return max(errors)


def runner(
    config: Config, start: TrainState, num_steps: int, digits_NHW: Any = None
) -> timing.Runner:
    """Return a function that trains for num_steps and waits; and num_steps."""
    states, key, taken = make(config, start), jax.random.key(0), int(start.step)
    update, draw = update_of(config), batches(config, digits_NHW)

    @functools.partial(jax.jit, static_argnames="turn_of_d", donate_argnums=0)
    def step(states, x, key, turn_of_d):
        keys = jax.random.split(jax.random.fold_in(key, states["generator"].step))
        shapes = noise_shapes(config)
        noise = [jax.random.normal(k, n) for k, n in zip(keys, shapes, strict=False)]
        return update(states, x, *noise, turn_of_d=turn_of_d)

    def run() -> None:
        nonlocal states, taken
        for _ in range(num_steps):
            turn = is_turn_of_d(config, taken)
            states, losses = step(states, draw(), key, turn)
            taken += 1
        jax.block_until_ready((states, losses))

    run()  # compiles
    return run, num_steps
