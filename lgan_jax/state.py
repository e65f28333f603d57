"""The state of a trained latent sampler, and its Adam."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from lgan_jax.config import Config
from lgan_jax.encodings import Encodings

Metrics = dict[str, jax.Array]


@struct.dataclass
class State:
    """A run's arrays. `key` never changes: steps fold their number into it."""

    step: jax.Array  # int32 []
    key: jax.Array  # typed PRNG key []
    params: dict[str, Any]  # by network: generator, discriminator
    opt_state: dict[str, Any]  # Adam's, by network
    encodings: Encodings  # with their centre and scale


def _optimizer(config: Config) -> optax.GradientTransformation:
    return optax.adam(config.sampler_rate, b1=config.sampler_beta1)


def create(
    key: jax.Array, encodings: Encodings, config: Config, variables: dict[str, Any]
) -> State:
    """The state of step 0, from what each network's `init` returned."""
    params = {name: v["params"] for name, v in variables.items()}
    return State(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=params,
        opt_state={n: _optimizer(config).init(p) for n, p in params.items()},
        encodings=encodings,
    )


def advance(state: State, grads: dict[str, Any], config: Config) -> State:
    """Updates every network by its Adam; `grads` are averaged over devices."""
    params, opt_state = {}, {}
    for name, grad in grads.items():
        updates, opt_state[name] = _optimizer(config).update(
            grad, state.opt_state[name]
        )
        params[name] = optax.apply_updates(state.params[name], updates)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state)
