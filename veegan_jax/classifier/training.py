"""Train the classifier of digits, on one device or many.

Dimension key: N images, B images of a batch on this device, H height, W width, C
channels (1), K classes.
"""

import functools
import pathlib
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from veegan_jax.classifier import network as classifiers
from veegan_jax.classifier.network import Classifier, Recipe
from veegan_jax.common import optimizers
from veegan_jax.data import images, pixels
from veegan_jax.runtime import numerics, parallel, rng, workdirs
from veegan_jax.runtime.run import CompiledSteps, Run

Data = tuple[jax.Array, jax.Array]  # images uint8 [N, H, W, C], labels [N]


@flax.struct.dataclass
class State:
    """All that training changes, and the key, which stays."""

    step: jax.Array
    key: jax.Array
    params: Any
    average: Any  # of the parameters; kept in the end
    moments: Any  # of the optimizer


@numerics.standard
def init(seed: int, dataset: str, recipe: Recipe) -> State:
    """Return the state before the first step."""
    params = classifiers.init(seed, dataset, recipe)
    # The initial weights come from key(seed) itself, so the steps need another key.
    key = jax.random.fold_in(rng.key(seed), 1)
    average = jax.tree.map(jnp.copy, params)
    return State(jnp.int32(0), key, params, average, _optimizer(recipe).init(params))


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
    return optimizers.adam(
        recipe.learning_rate,
        steps=recipe.steps,
        schedule="cosine",
        beta1=0.9,
        beta2=0.999,
    )


def train_step(
    data: Data,
    state: State,
    axis_name: str | None,
    *,
    recipe: Recipe,
) -> tuple[State, dict[str, jax.Array]]:
    """Draw a batch with replacement and take one step of Adam on the cross-entropy.

    Args:
      data: images and labels.
      state: see `State`.
      axis_name: the mapped batch axis, or None.
      recipe: sizes and rates; its batch size is over all devices.
    """
    image_NHWC, label_N = data
    batch = recipe.batch_size // parallel.size(axis_name)
    keys = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
    key_index, key_shift, key_dropout = keys
    index_B = rng.index(key_index, batch, len(label_N), axis_name=axis_name)
    x_BHWC = shifted(key_shift, image_NHWC[index_B], recipe.shift, axis_name)
    x_BHWC = pixels.to_float(x_BHWC)
    network = classifiers.Network(recipe, axis_name)

    def loss(params: Any) -> jax.Array:
        rngs = {"dropout": key_dropout}
        logits_BK, _ = network.apply(
            {"params": params}, x_BHWC, training=True, rngs=rngs
        )
        return jnp.mean(
            optax.softmax_cross_entropy_with_integer_labels(logits_BK, label_N[index_B])
        )

    value, grads = parallel.mean(jax.value_and_grad(loss)(state.params), axis_name)
    updates, moments = _optimizer(recipe).update(grads, state.moments, state.params)
    params = optax.apply_updates(state.params, updates)
    average = optimizers.average(state.average, params, recipe.average, state.step)
    return State(state.step + 1, state.key, params, average, moments), {"loss": value}


def shifted(
    key: jax.Array, x_BHWC: jax.Array, most: int, axis_name: str | None = None
) -> jax.Array:
    """Shift each image by up to `most` pixels each way, filling in 0."""
    size = x_BHWC.shape[1:]
    rows = len(x_BHWC) * parallel.size(axis_name)
    offset_B2 = jax.random.randint(key, (rows, 2), 0, 2 * most + 1)
    offset_B2 = parallel.local_examples(offset_B2, len(x_BHWC), axis_name)
    x_BHWC = jnp.pad(x_BHWC, ((0, 0), (most, most), (most, most), (0, 0)))

    def cut(x_HWC: jax.Array, offset_2: jax.Array) -> jax.Array:
        start = (offset_2[0], offset_2[1], 0)
        return jax.lax.dynamic_slice(x_HWC, start, size)

    return jax.vmap(cut)(x_BHWC, offset_B2)


def prepare(
    data: images.Images,
    seed: int,
    recipe: Recipe,
    *,
    workdir: pathlib.Path | None = None,
    mode: str = "none",
    save_every: float = 30.0,
) -> Run:
    """Bind images and a recipe to a training run of one member; see `train`."""
    arrays = data.image, data.label
    step = functools.partial(train_step, recipe=recipe)

    def init_1() -> State:
        start = jax.jit(init, static_argnums=(1, 2))(seed, data.dataset, recipe)
        return jax.tree.map(lambda leaf: leaf[None], start)

    return Run(
        name=f"{data.dataset} classifier",
        init=init_1,
        step=step,
        steps=recipe.steps,
        interval=-(-recipe.steps // 50),
        labels=[f"seed {seed}"],
        data=arrays,
        compile_steps=(
            functools.partial(_compile, step, arrays) if mode == "none" else None
        ),
        mode=mode,
        workdir=workdir,
        flag="output",
        keep=1,
        save_every=save_every,
    )


@numerics.standard
def train(
    data: images.Images,
    seed: int,
    recipe: Recipe | None = None,
    *,
    workdir: pathlib.Path | None = None,
    mode: str = "none",
    save_every: float = 30.0,
) -> Classifier:
    """Train a classifier, with a progress bar; data, seed and recipe determine it.

    Args:
      data: the training images.
      seed: determines the initial weights, batches, shifts and dropout.
      recipe: None: the data set's.
      workdir: gets checkpoints and metrics; the same call resumes from them. None:
        nothing is kept.
      mode: "none": one device; "jit" or "pmap": see `parallel.run_steps`.
      save_every: seconds between checkpoints.

    Returns:
      The classifier with the averaged weights; its accuracy is not measured.

    Raises:
      InputError: if the batch does not divide over the devices, or the work directory
        cannot be used.
      loop.Interrupted, loop.NonFinite: see `loop.train`.
    """
    recipe = recipe or classifiers.RECIPES[data.dataset]
    parallel.check(mode, recipe.batch_size, jax.device_count())
    if workdir:
        identity = {"classifier": data.dataset, "seed": seed, "recipe": repr(recipe)}
        workdirs.claim(workdir, identity, flag="output")
    run = prepare(data, seed, recipe, workdir=workdir, mode=mode, save_every=save_every)
    state_1, _ = run.train()
    params = jax.tree.map(lambda leaf: np.asarray(leaf[0]), state_1.average)
    return Classifier(params, data.dataset, data.source, seed, recipe)


def dry_run(data: images.Images, recipe: Recipe, mode: str) -> str:
    """Return what a step of training would cost; train nothing."""
    return prepare(data, 0, recipe, mode=mode).dry_run()


def _compile(step: parallel.Step, data: Data, num_steps: int) -> CompiledSteps:
    """Compile steps of the one member without the member axis of `run_steps`.

    With that axis the steps would round differently, and existing records hold the
    SHA-256 of their classifier.
    """
    data = jax.tree.map(jnp.asarray, data)

    @jax.jit
    def run(state_1: State) -> tuple[State, Any]:
        def body(state: State, _: None) -> tuple[State, Any]:
            return step(data, state, None)

        state = jax.tree.map(lambda leaf: leaf[0], state_1)
        result = jax.lax.scan(body, state, length=num_steps)
        return jax.tree.map(lambda leaf: leaf[None], result)

    return run
