"""The training state that autoencoders and latent samplers share, and its batches.

Dimension key: B batch, M images of the data set, N examples of a class (padded), X
pixels, d encoding.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from veegan_jax.runtime import rng

Metrics = dict[str, jax.Array]


@struct.dataclass
class Rows:
    """The images of a data set that a model learns from."""

    index_N: jax.Array  # int32 [N], places in the data set; padded
    count: jax.Array  # int32 [], how many of them are not padding


@struct.dataclass
class TrainState:
    """The arrays of a training run. `key` never changes: steps fold in their number."""

    step: jax.Array  # int32 [], steps taken
    key: jax.Array  # typed PRNG key []
    params: dict[str, Any]  # by network
    opt_state: dict[str, Any]  # Adam's, by network
    data: Any  # what the model learns from: `Rows` or `encodings.Encodings`


def create(
    key: jax.Array,
    variables: dict[str, dict[str, Any]],
    data: Any,
    optimizer: optax.GradientTransformation,
) -> TrainState:
    """Build the state of step 0.

    Args:
      key: the run's noise key.
      variables: what each network's `init` returned, by network.
      data: `Rows` or `encodings.Encodings`.
      optimizer: of every network.
    """
    params = {name: of_network["params"] for name, of_network in variables.items()}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=params,
        opt_state={name: optimizer.init(p) for name, p in params.items()},
        data=data,
    )


def advance(
    state: TrainState, grads: dict[str, Any], optimizer: optax.GradientTransformation
) -> TrainState:
    """Update every network by its own Adam.

    Args:
      state: before the step.
      grads: a gradient tree for each network, averaged over devices.
      optimizer: the one that `create` was given.
    """
    params, opt_state = {}, {}
    for name, grad in grads.items():
        updates, opt_state[name] = optimizer.update(grad, state.opt_state[name])
        params[name] = optax.apply_updates(state.params[name], updates)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state)


def step_keys(state: TrainState, num: int) -> jax.Array:
    """Derive the keys of one step, [num]. The first draws its batch, see below."""
    return jax.random.split(jax.random.fold_in(state.key, state.step), num)


def batch_of_images(
    state: TrainState, image_MX: jax.Array, size: int, axis_name: str | None = None
) -> jax.Array:
    """Draw a step's batch from the images of `state.data`, with replacement.

    Args:
      state: its data are `Rows`.
      image_MX: the whole data set, uint8.
      size: B on this device.
      axis_name: the mapped batch axis, or None.

    Returns:
      Pixels in [0, 1], float32 [B, X].
    """
    index_B = _batch_index(state, size, axis_name)
    return to_unit(image_MX[state.data.index_N[index_B]])


def batch_of_encodings(
    state: TrainState, size: int, axis_name: str | None = None
) -> jax.Array:
    """Draw a step's batch from the encodings of `state.data`, with replacement.

    Args:
      state: its data are `encodings.Encodings`.
      size: B on this device.
      axis_name: the mapped batch axis, or None.

    Returns:
      Centred and scaled encodings, float32 [B, d].
    """
    return state.data.unit[_batch_index(state, size, axis_name)]


def _batch_index(state: TrainState, size: int, axis_name: str | None) -> jax.Array:
    key = step_keys(state, 1)[0]
    return rng.index(key, size, state.data.count, axis_name=axis_name)


def to_unit(image: jax.Array) -> jax.Array:
    """Convert uint8 pixels to floats in [0, 1]."""
    return image.astype(jnp.float32) / 255


def to_uint8(x: jax.Array) -> jax.Array:
    """Round pixels in [0, 1] to the nearest of 0 to 255."""
    return jnp.clip(jnp.round(255 * x), 0, 255).astype(jnp.uint8)
