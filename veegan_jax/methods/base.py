"""The training state: arrays only, so a checkpoint of it is the whole run."""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from veegan_jax import networks
from veegan_jax.common import errors, optimizers
from veegan_jax.config import Config
from veegan_jax.runtime import rng

Metrics = dict[str, jax.Array]


@flax.struct.dataclass
class TrainState:
    """All that a training step reads and writes.

    `key` never changes: a step derives its noise from `fold_in(key, step)`, so the
    state alone continues a run bit for bit.
    """

    step: jax.Array  # int32 [], steps taken
    key: jax.Array  # typed PRNG key []
    params: dict[str, Any]  # by network: generator, discriminator, reconstructor
    batch_stats: dict[str, Any]  # running BatchNorm moments, by network; {} without
    opt_state: dict[str, Any]  # Adam's, by network
    ema: Any  # averaged generator parameters; None without averaging


def optimizer(
    config: Config, network: str, *, eps_root: float = 0.0
) -> optax.GradientTransformation:
    """Adam for one network; D has its own step size. G and R apart equal one Adam."""
    is_d = network == "discriminator"
    return optimizers.adam(
        config.learning_rate_d if is_d else config.learning_rate,
        steps=config.steps,
        schedule=config.schedule,
        beta1=config.beta1,
        beta2=config.beta2,
        hold=config.schedule_hold,
        eps_root=eps_root,
    )


def create(
    key: jax.Array, config: Config, variables: dict[str, dict[str, Any]]
) -> TrainState:
    """Builds the state of step 0.

    Args:
      key: the run's noise key.
      config: sets the optimizers and the averaging.
      variables: what each network's `init` returned, by network; "generator" is
        required.

    Returns:
      A TrainState whose arrays alias `variables`' only where they are not updated.
    """
    params = {name: v["params"] for name, v in variables.items()}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=params,
        batch_stats={n: v.get("batch_stats", {}) for n, v in variables.items()},
        opt_state={n: optimizer(config, n).init(p) for n, p in params.items()},
        ema=jax.tree.map(jnp.copy, params["generator"]) if config.ema else None,
    )


def advance(
    state: TrainState,
    grads: dict[str, Any],
    batch_stats: dict[str, Any],
    config: Config,
) -> TrainState:
    """Updates every network by its Adam, and the generator's average.

    Args:
      state: before the step.
      grads: one gradient tree per network, already averaged over devices.
      batch_stats: the BatchNorm moments after the step of the networks that have any.
      config: the run's.

    Returns:
      The state after the step.
    """
    params, opt_state = {}, {}
    for name, grad in grads.items():
        old = state.params[name], state.opt_state[name]
        updates, opt_state[name] = optimizer(config, name).update(grad, old[1])
        params[name] = optax.apply_updates(old[0], updates)
        if name == "discriminator" and config.discriminator_every > 1:
            turn = state.step % config.discriminator_every == 0
            params[name], opt_state[name] = jax.tree.map(
                functools.partial(jnp.where, turn), (params[name], opt_state[name]), old
            )
    return state.replace(
        step=state.step + 1,
        params=params,
        batch_stats=state.batch_stats | batch_stats,
        opt_state=opt_state,
        ema=optimizers.average(state.ema, params["generator"], config.ema, state.step),
    )


def reconstruct(state: TrainState, *inputs: jax.Array, config: Config) -> jax.Array:
    """R's z_BZ for its inputs, BatchNorm in inference mode."""
    variables = {
        "params": state.params["reconstructor"],
        "batch_stats": state.batch_stats["reconstructor"],
    }
    return networks.reconstructor(config).apply(variables, *inputs)


def generate(
    state: TrainState, key_or_z: jax.Array, *, config: Config, num_samples: int = 0
) -> jax.Array:
    """Generates x, by G's average where there is one, BatchNorm in inference mode.

    Args:
      state: a trained state.
      key_or_z: a typed key, with num_samples; or z_BZ, whose missing noise columns
        count as 0 (their mean). x is differentiable in z.
      config: the state's own.
      num_samples: how many to draw from a key.

    Returns:
      float [B, X], or [B, H, W, C] in [-1, 1] for images.

    Raises:
      InputError: for z of another size than the configuration's.
    """
    if jnp.issubdtype(key_or_z.dtype, jax.dtypes.prng_key):
        z_BZ = rng.normal(key_or_z, networks.latent_shape(config, num_samples))
    else:
        whole = networks.latent_shape(config, 0)[1]
        if key_or_z.shape[1] not in (config.latent_size, whole):
            raise errors.InputError(
                f"z has {key_or_z.shape[1]} columns; the latent size is "
                f"{config.latent_size}"
                + (f", with G's noise {whole}" if whole > config.latent_size else "")
            )
        missing = whole - key_or_z.shape[1]
        z_BZ = jnp.pad(key_or_z, ((0, 0), (0, missing)))
    params = state.params["generator"] if state.ema is None else state.ema
    variables = {"params": params, "batch_stats": state.batch_stats["generator"]}
    return config.data_scale * networks.generator(config).apply(variables, z_BZ)
