"""Shared by all methods: the state, gradients, the update, and sampling from G.

A method is a module, or any object, with the functions of `Method`. Its step is pure:
noise comes from the state's key and step count, so the same function serves jit, scan,
vmap over seeds and pmap.

Dimension key: B batch, N samples, Z latent, E noise inputs of G, X data dimensions.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from veegan_jax.common import errors, optimizers
from veegan_jax.config import Config
from veegan_jax.runtime import numerics, parallel, rng

Params = dict[str, Any]  # a network's parameters, by the network's name
Metrics = dict[str, jax.Array]  # scalars, by name


@flax.struct.dataclass
class TrainState:
    """All that a training step reads and writes: arrays only.

    A checkpoint of it is the whole run. `key` never changes: a step derives its noise
    from `fold_in(key, step)`, so the state alone continues a run bit for bit.
    """

    step: jax.Array  # int32 [], steps taken
    key: jax.Array  # typed PRNG key []
    params: Params  # generator, discriminator, reconstructor
    batch_stats: dict[str, Any]  # running BatchNorm moments, by network; {} without
    opt_state: dict[str, Any]  # Adam's, by network
    ema: Any  # averaged generator parameters; None without averaging


class Method(Protocol):
    """The functions of a method. One with a reconstructor also has `reconstruct`."""

    def init(self, key: jax.Array, config: Config) -> TrainState:
        """Initialize all networks from a typed key."""

    def train_step(
        self,
        state: TrainState,
        x_BX: jax.Array,
        *,
        config: Config,
        axis_name: str | None = None,
    ) -> tuple[TrainState, Metrics]:
        """Update every network on a batch of real examples, this device's share."""

    def sample(
        self, state: TrainState, key: jax.Array, num_samples: int, *, config: Config
    ) -> jax.Array:
        """Draw samples [N, X]."""

    def generate(
        self, state: TrainState, z_BZ: jax.Array, *, config: Config
    ) -> jax.Array:
        """Map latents [B, Z] to samples [B, X], differentiably."""


class Reconstructs(Protocol):
    """The function that a method with a reconstructor adds."""

    def reconstruct(
        self, state: TrainState, x_BX: jax.Array, *, config: Config
    ) -> jax.Array:
        """Map examples [B, X] to latents [B, Z]."""


def optimizer(
    config: Config, network: str, *, updates_a_step: int = 1, eps_root: float = 0.0
) -> optax.GradientTransformation:
    """Return Adam for one network; D has its own step size.

    Args:
      config: the run's.
      network: "discriminator", or any other.
      updates_a_step: of this network, for the schedule.
      eps_root: see `optimizers.adam`.
    """
    adam = config.optimizer
    is_d = network == "discriminator"
    return optimizers.adam(
        adam.learning_rate_d if is_d else adam.learning_rate,
        steps=config.steps * updates_a_step,
        schedule=adam.schedule,
        beta1=adam.beta1,
        beta2=adam.beta2,
        hold=adam.schedule_hold,
        eps_root=eps_root,
    )


def create(key: jax.Array, config: Config, variables: Params) -> TrainState:
    """Build the state of step 0.

    Args:
      key: the run's noise key.
      config: sets the optimizers and the averaging.
      variables: what each network's `init` returned, by network; "generator" is
        required.
    """
    params = {name: v["params"] for name, v in variables.items()}
    average = jax.tree.map(jnp.copy, params["generator"])
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=params,
        batch_stats={n: v.get("batch_stats", {}) for n, v in variables.items()},
        opt_state={n: optimizer(config, n).init(p) for n, p in params.items()},
        ema=average if config.optimizer.ema else None,
    )


@numerics.standard
def init_pair(key: jax.Array, config: Config) -> TrainState:
    """Initialize G and D from a typed key: the `init` of methods that have no more."""
    key_g, key_d, key_train = jax.random.split(key, 3)
    z_BZ = jnp.zeros(config.latent_shape(1))
    variables = {
        "generator": config.generator().init(key_g, z_BZ),
        "discriminator": config.discriminator().init(key_d, config.examples()),
    }
    return create(key_train, config, variables)


def apply_training(
    network: nn.Module, params: Any, batch_stats: Any, *inputs: jax.Array
) -> tuple[jax.Array, Any]:
    """Apply a network in training mode: (output, running BatchNorm moments)."""
    output, updates = network.apply(
        {"params": params, "batch_stats": batch_stats},
        *inputs,
        train=True,
        mutable=["batch_stats"],
    )
    return output, updates.get("batch_stats", {})


def apply_for_features(
    discriminator: nn.Module, params: Any, *inputs: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Apply D: (logit [B, 1], what its last hidden layer says [B, F])."""
    logit, kept = discriminator.apply(
        {"params": params}, *inputs, mutable=["intermediates"]
    )
    (features_BF,) = kept["intermediates"]["features"]
    return logit, features_BF


def turn_of_d(state: TrainState, config: Config) -> jax.Array | bool:
    """Return whether D moves in this step: a constant if it moves in every step."""
    every = config.optimizer.discriminator_every
    return every == 1 or state.step % every == 0


def gradient_on_turn(turn: jax.Array | bool, gradient: Callable[[], Any]) -> Any:
    """Compute a gradient in the steps that use it; elsewhere return zeros.

    Args:
      turn: bool [], or True.
      gradient: returns a tree of arrays.
    """
    if turn is True:
        return gradient()
    shapes = jax.eval_shape(gradient)
    zeros = functools.partial(jax.tree.map, lambda a: jnp.zeros(a.shape, a.dtype))
    return jax.lax.cond(parallel.any_member(turn), gradient, lambda: zeros(shapes))


def simultaneous_gradients(
    losses: Callable[[Params], tuple[tuple[jax.Array, jax.Array], Any]],
    params: Params,
    turn: jax.Array | bool = True,
) -> tuple[Params, tuple[jax.Array, jax.Array], Any]:
    """Differentiate D's loss and that of all other networks, from one forward pass.

    Args:
      losses: parameters of all networks -> ((loss of the discriminator, loss of the
        others), anything else).
      params: of all networks.
      turn: whether D's gradient is wanted, see `turn_of_d`; otherwise it is zero.

    Returns:
      The gradients by network, the two losses, and anything else.
    """
    (loss_d, loss_g), pullback, aux = jax.vjp(losses, params, has_aux=True)
    # Each network keeps the gradient of its own loss; XLA drops the other half.
    grad_d = gradient_on_turn(turn, lambda: pullback((1.0, 0.0))[0]["discriminator"])
    (grads,) = pullback((0.0, 1.0))
    return grads | {"discriminator": grad_d}, (loss_d, loss_g), aux


def update(
    state: TrainState,
    grads: Params,
    batch_stats: dict[str, Any],
    metrics: Metrics,
    *,
    config: Config,
    axis_name: str | None,
) -> tuple[TrainState, Metrics]:
    """Average over devices, then update every network and G's average: the step's end.

    Args:
      state: before the step.
      grads: one gradient tree per network, this device's.
      batch_stats: BatchNorm moments after the step, of the networks that have any.
      metrics: of this device's examples.
      config: the run's.
      axis_name: the mapped batch axis, or None.

    Returns:
      The state after the step, and the metrics of the whole batch.
    """
    grads, batch_stats, metrics = parallel.mean(
        (grads, batch_stats, metrics), axis_name
    )
    return advance(state, grads, batch_stats, config), metrics


def advance(
    state: TrainState, grads: Params, batch_stats: dict[str, Any], config: Config
) -> TrainState:
    """Update every network by its Adam, and G's average, by averaged gradients.

    A network without a gradient stays as it is.
    """
    params, opt_state = dict(state.params), dict(state.opt_state)
    turn = turn_of_d(state, config)
    for name, grad in grads.items():
        old = state.params[name], state.opt_state[name]
        updates, opt_state[name] = optimizer(config, name).update(grad, old[1])
        params[name] = optax.apply_updates(old[0], updates)
        if name == "discriminator" and turn is not True:
            params[name], opt_state[name] = jax.tree.map(
                functools.partial(jnp.where, turn), (params[name], opt_state[name]), old
            )
    average = optimizers.average(
        state.ema, params["generator"], config.optimizer.ema, state.step
    )
    return dataclasses.replace(
        state,
        step=state.step + 1,
        params=params,
        batch_stats=state.batch_stats | batch_stats,
        opt_state=opt_state,
        ema=average,
    )


def pack(x_B: jax.Array, degree: int) -> jax.Array:
    """Join `degree` consecutive examples on the last axis: [B / degree, ..., degree C].

    This is what D sees under packing (Lin et al. 2018): samples of one kind, side by
    side.
    """
    batch, *middle, channels = x_B.shape
    x_B = x_B.reshape(batch // degree, degree, *middle, channels)
    return jnp.moveaxis(x_B, 1, -2).reshape(batch // degree, *middle, degree * channels)


def parts(x_B: jax.Array, num_parts: int) -> jax.Array:
    """Deal a batch out like cards: [B, ...] -> [num_parts, B / num_parts, ...].

    So the parts are the same however many devices share the batch.
    """
    batch, *rest = x_B.shape
    return jnp.moveaxis(x_B.reshape(batch // num_parts, num_parts, *rest), 1, 0)


def without_noise(z_BZ: jax.Array, config: Config) -> jax.Array:
    """Append G's noise inputs at 0, their mean: [B, Z] -> [B, Z + E]."""
    missing = config.latent_shape(0)[1] - z_BZ.shape[1]
    return jnp.pad(z_BZ, ((0, 0), (0, missing)))


@numerics.standard
def sample(
    state: TrainState, key: jax.Array, num_samples: int, *, config: Config
) -> jax.Array:
    """Draw samples by G's average where there is one, BatchNorm in inference mode.

    Args:
      state: a trained state.
      key: one typed key.
      num_samples: N.
      config: the state's own.

    Returns:
      float [N, X], or [N, H, W, C] in [-1, 1] for images.
    """
    return _generate(state, rng.normal(key, config.latent_shape(num_samples)), config)


@numerics.standard
def generate(state: TrainState, z_BZ: jax.Array, *, config: Config) -> jax.Array:
    """Map latents to samples, as `sample` does; differentiable in z.

    Args:
      state: a trained state.
      z_BZ: latents [B, Z]; or [B, Z + E], with G's noise inputs, which otherwise count
        as 0 (their mean).
      config: the state's own.

    Returns:
      float [B, X], or [B, H, W, C] in [-1, 1] for images.

    Raises:
      InputError: for z of another size than the configuration's.
    """
    whole = config.latent_shape(0)[1]
    if z_BZ.shape[1] not in (config.latent_size, whole):
        raise errors.InputError(
            f"z has {z_BZ.shape[1]} columns; the latent size is {config.latent_size}"
            + (f", with G's noise {whole}" if whole > config.latent_size else "")
        )
    return _generate(state, without_noise(z_BZ, config), config)


def _generate(state: TrainState, latent_BZE: jax.Array, config: Config) -> jax.Array:
    params = state.params["generator"] if state.ema is None else state.ema
    variables = {"params": params, "batch_stats": state.batch_stats["generator"]}
    return config.data.scale * config.generator().apply(variables, latent_BZE)


@numerics.standard
def reconstruct(state: TrainState, *inputs: jax.Array, config: Config) -> jax.Array:
    """Return R's z_BZ for its inputs, BatchNorm in inference mode."""
    variables = {
        "params": state.params["reconstructor"],
        "batch_stats": state.batch_stats["reconstructor"],
    }
    return config.reconstructor().apply(variables, *inputs)
