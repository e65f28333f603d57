"""The classifiers whose accuracy says what generated images are worth.

Every batch takes a share of its rows from generated images and the rest from real
ones, so that all shares and all generators take equally many optimizer steps.

Dimension key: B batch, M images of the data set, R rows of the real subset, N
generated images, T test images, X numbers of an image, K classes, C classifiers,
E evaluation points.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec as P

from veegan_jax.networks import conv
from veegan_jax.runtime import distributed, numerics, rng


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The recipe of a classifier."""

    shape: tuple[int, int, int]  # H, W, C of an image
    num_classes: int = 10
    layers: tuple[tuple[int, int, int], ...] = ()  # channels, kernel, stride
    hidden: int = 64
    steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    eval_points: int = 12  # of the test accuracy, evenly over the steps


class Data(NamedTuple):
    """The images of one subset, uint8 [., X], with their labels."""

    image_MX: jax.Array
    label_M: jax.Array
    row_R: jax.Array  # the known ones, by their places in image_MX
    generated_NX: jax.Array
    generated_label_N: jax.Array
    test_TX: jax.Array
    test_label_T: jax.Array


class Network(nn.Module):
    """Images uint8 [B, X] -> logits [B, K]: convolutions, a hidden layer, output."""

    recipe: Recipe

    @nn.compact
    def __call__(self, image_BX: jax.Array) -> jax.Array:
        he_normal = nn.initializers.he_normal()
        h = (image_BX.astype(jnp.float32) / 255).reshape(-1, *self.recipe.shape)
        for channels, kernel, stride in self.recipe.layers:
            h = nn.relu(conv.Conv(channels, kernel, stride, kernel_init=he_normal)(h))
        h = h.reshape(len(image_BX), -1)
        h = nn.relu(nn.Dense(self.recipe.hidden, kernel_init=he_normal)(h))
        return nn.Dense(self.recipe.num_classes)(h)


def train(key: jax.Array, share: jax.Array, data: Data, recipe: Recipe) -> jax.Array:
    """Train one classifier and evaluate its accuracy at several points.

    Args:
      key: of the initial weights and the batches. Equal keys give equal weights and
        equal real rows whatever is generated, which pairs the comparisons.
      share: the generated share of each batch, in [0, 1].
      data: known, generated and test images.
      recipe: how to build and train it.

    Returns:
      % of the test images classified rightly, [E]; the last after the last step.
    """
    network, optimizer = Network(recipe), optax.adam(recipe.learning_rate)
    key_params, key_train = jax.random.split(key)
    params = network.init(key_params, data.image_MX[:1])
    fake_B = jnp.arange(recipe.batch_size) < jnp.round(share * recipe.batch_size)

    def body(carry: Any, step: jax.Array) -> tuple[Any, None]:
        params, moments = carry
        keys = jax.random.split(jax.random.fold_in(key_train, step))
        real_B = data.row_R[rng.index(keys[0], recipe.batch_size, len(data.row_R))]
        fake_row_B = rng.index(keys[1], recipe.batch_size, len(data.generated_label_N))
        x_BX = jnp.where(
            fake_B[:, None], data.generated_NX[fake_row_B], data.image_MX[real_B]
        )
        label_B = jnp.where(
            fake_B, data.generated_label_N[fake_row_B], data.label_M[real_B]
        )

        def loss(params: Any) -> jax.Array:
            nats_B = optax.softmax_cross_entropy_with_integer_labels(
                network.apply(params, x_BX), label_B
            )
            return jnp.mean(nats_B)

        updates, moments = optimizer.update(jax.grad(loss)(params), moments)
        return (optax.apply_updates(params, updates), moments), None

    def until_evaluation(carry: Any, step_I: jax.Array) -> tuple[Any, jax.Array]:
        carry, _ = jax.lax.scan(body, carry, step_I)
        return carry, accuracy(carry[0], data.test_TX, data.test_label_T, recipe)

    steps_EI = jnp.arange(recipe.steps).reshape(recipe.eval_points, -1)
    _, accuracy_E = jax.lax.scan(
        until_evaluation, (params, optimizer.init(params)), steps_EI
    )
    return accuracy_E


def accuracy(
    params: Any, image_TX: jax.Array, label_T: jax.Array, recipe: Recipe
) -> jax.Array:
    """Return the % of images uint8 [T, X] that are classified as their labels [T]."""

    def right(example: tuple[jax.Array, jax.Array]) -> jax.Array:
        image_X, label = example
        logits_1K = Network(recipe).apply(params, image_X[None])
        return jnp.argmax(logits_1K[0]) == label

    return 100 * jnp.mean(jax.lax.map(right, (image_TX, label_T), batch_size=500))


@numerics.standard
def train_all(
    keys_C: jax.Array, share_C: Any, data: Data, recipe: Recipe
) -> np.ndarray:
    """Train classifiers that differ in key and share, over all devices.

    Returns:
      Their accuracies in %, [C, E].
    """
    missing = -len(share_C) % jax.device_count()  # the last ones are trained twice
    index = np.minimum(np.arange(len(share_C) + missing), len(share_C) - 1)
    # Each process takes neighbouring ones, and spreads them over its own devices.
    mine = np.split(index, distributed.num_processes())[jax.process_index()]
    run = _over_devices(tuple(jax.local_devices()), recipe)
    share_C = jnp.asarray(share_C, jnp.float32)
    accuracy_CE = np.asarray(run(keys_C[mine], share_C[mine], data))
    found = np.concatenate(distributed.gather(accuracy_CE))
    return found[: len(share_C)]


@functools.cache
def _over_devices(devices: Sequence[jax.Device], recipe: Recipe) -> Any:
    mesh = jax.sharding.Mesh(np.asarray(devices), ("classifiers",))
    many = jax.vmap(functools.partial(train, recipe=recipe), (0, 0, None))
    one_each = P("classifiers")
    # check_vma=False: nothing crosses devices, so no rule is needed.
    return jax.jit(
        jax.shard_map(
            many,
            mesh=mesh,
            in_specs=(one_each, one_each, P()),
            out_specs=one_each,
            check_vma=False,
        )
    )
