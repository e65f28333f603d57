"""Check the functions of a user's own method before a run claims anything.

Dimension key: B batch, N samples, Z latent, X data dimensions.
"""

import contextlib
import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from veegan_jax.common import errors
from veegan_jax.config import Config
from veegan_jax.runtime import rng

INIT = "init(key, config)"
STEP = "train_step(state, x, config=config, axis_name=None)"
SAMPLE = "sample(state, key, num_samples, config=config)"
GENERATE = "generate(state, z, config=config)"
RECONSTRUCT = "reconstruct(state, x, config=config)"
LOG_NAMES = ("step", "seconds")  # what else a line of metrics.jsonl holds


def check(
    method: Any, config: Config, taken: Collection[str] = (), num_samples: int = 16
) -> None:
    """Take one real step and draw once; refuse a method that breaks the protocol.

    Shapes and types are checked while JAX traces the functions, so that a mistake is
    told in their terms and not in those of a compiled loop. An exception inside a
    function keeps its traceback.

    Args:
      method: a module or object with the functions of `base.Method`.
      config: of the run.
      taken: names that a metric of a step may not have, since the experiment logs its
        own under them.
      num_samples: how many the experiment draws at a time.

    Raises:
      InputError: naming the function, what it returned and what is expected.
    """
    name = config.method

    def init(key):
        with _called(name, INIT, method.init):
            state = method.init(key, config)
        _check_state(name, state)
        return state

    def step(state, x_BX):
        with _called(name, STEP, method.train_step):
            found = method.train_step(state, x_BX, config=config, axis_name=None)
        _check_step(name, found, state, {*LOG_NAMES, *taken})
        return found

    def sample(state, key):
        with _called(name, SAMPLE, method.sample):
            x_NX = method.sample(state, key, num_samples, config=config)
        _check_array(name, SAMPLE, x_NX, (num_samples, *config.example_shape()))
        return x_NX

    def generate(state):
        with _called(name, GENERATE, method.generate):
            z_BZ = jnp.zeros((2, config.latent_size))
            x_BX = method.generate(state, z_BZ, config=config)
        _check_array(name, GENERATE, x_BX, (2, *config.example_shape()))

    def reconstruct(state):
        with _called(name, RECONSTRUCT, method.reconstruct):
            z_BZ = method.reconstruct(state, config.examples(2), config=config)
        _check_array(name, RECONSTRUCT, z_BZ, (2, config.latent_size))

    key = rng.key(0)
    shape = (config.batch_size, *config.example_shape())
    shapes = jax.eval_shape(init, key)
    jax.eval_shape(step, shapes, jax.ShapeDtypeStruct(shape, jnp.float32))
    jax.eval_shape(sample, shapes, key)
    if getattr(method, "generate", None):
        jax.eval_shape(generate, shapes)
    if getattr(method, "reconstruct", None):
        jax.eval_shape(reconstruct, shapes)

    key_init, key_x, key_sample = jax.random.split(key, 3)
    state = jax.jit(init)(key_init)
    x_NX = jax.jit(sample)(state, key_sample)
    bad = int(np.sum(~np.isfinite(x_NX).reshape(num_samples, -1).all(axis=1)))
    if bad:
        raise errors.InputError(
            f"{name}: {SAMPLE} returned {bad} of {num_samples} samples with NaN or "
            "infinity, before any training; expected finite numbers"
        )
    before = int(state.step)
    if before:
        raise errors.InputError(
            f"{name}: {INIT} returned a state whose step is {before}; expected 0, as "
            "no step has been taken"
        )
    x_BX = jax.random.uniform(key_x, shape, jnp.float32, -1, 1)
    new, _ = jax.jit(step)(state, x_BX)
    if int(new.step) != before + 1:
        raise errors.InputError(
            f"{name}: {STEP} returned a state whose step went from {before} to "
            f"{int(new.step)}; expected {before + 1}: return "
            "state.replace(step=state.step + 1, ...), or use base.update"
        )


@contextlib.contextmanager
def _called(name: str, call: str, function: Any) -> Iterator[None]:
    """Refuse a function that cannot be called so; name it in its exceptions."""
    names = call.partition("(")[2].rstrip(")").split(", ")
    given = [n for n in names if "=" not in n]
    named = {n.partition("=")[0]: None for n in names if "=" in n}
    try:
        inspect.signature(function).bind(*given, **named)
    except (TypeError, ValueError) as error:  # ValueError: Python knows no signature
        if isinstance(error, TypeError):
            raise errors.InputError(
                f"{name} is called as {call}, which it refuses: {error}"
            ) from error
    try:
        yield
    except Exception as error:
        if not isinstance(error, errors.InputError):
            error.add_note(f"This happened in {call} of {name}.")
        raise


def _check_state(name: str, state: Any) -> None:
    step, key = (getattr(state, field, None) for field in ("step", "key"))
    if jax.tree_util.all_leaves([state]) or not hasattr(state, "params"):
        problem = _shown(state)
    elif not _is_kind(step, jnp.integer, ()):
        problem = f"a state whose step is {_shown(step)}"
    elif not _is_kind(key, jax.dtypes.prng_key, ()):
        problem = f"a state whose key is {_shown(key)}"
    else:
        return
    raise errors.InputError(
        f"{name}: {INIT} returned {problem}; expected a flax.struct.dataclass of "
        "arrays with step (an integer scalar), key (a typed key) and params, such as "
        "base.TrainState"
    )


def _check_step(name: str, found: Any, state: Any, taken: Collection[str]) -> None:
    expected = "expected (state, metrics)"
    if not isinstance(found, tuple) or len(found) != 2:
        raise errors.InputError(f"{name}: {STEP} returned {_shown(found)}; {expected}")
    new, metrics = found
    if isinstance(new, dict) and hasattr(metrics, "step"):
        raise errors.InputError(f"{name}: {STEP} returned (metrics, state); {expected}")
    _check_same(name, new, state)
    if not isinstance(metrics, Mapping):
        raise errors.InputError(
            f"{name}: {STEP} returned metrics that are {_shown(metrics)}; expected a "
            "dict of scalars by name, {} if there are none"
        )
    for metric, value in metrics.items():
        problem = ""
        if not isinstance(metric, str):
            problem = "its name is no text"
        elif metric in taken:
            problem = "the run logs another value by this name; choose another"
        elif not _is_kind(value, jnp.number, ()) and not _is_kind(value, jnp.bool_, ()):
            problem = f"it is {_shown(value)}; expected a real scalar"
        elif _is_kind(value, jnp.complexfloating, ()):
            problem = "it is complex; expected a real scalar"
        if problem:
            raise errors.InputError(
                f"{name}: {STEP} returned the metric {metric!r}: {problem}"
            )


def _check_same(name: str, new: Any, old: Any) -> None:
    """Refuse a state that differs from the one before in structure, shape or type."""
    structures: list[Any] = [jax.tree.structure(state) for state in (new, old)]
    if structures[0] != structures[1]:
        raise errors.InputError(
            f"{name}: {STEP} returned a state of another structure than it was given: "
            f"{_shown(new)}; expected the same fields and entries"
        )
    for (path, after), before in zip(
        jax.tree_util.tree_leaves_with_path(new), jax.tree.leaves(old), strict=True
    ):
        if _kind(after) != _kind(before):
            where = jax.tree_util.keystr(path)
            raise errors.InputError(
                f"{name}: {STEP} returned a state whose {where} is {_shown(after)}; "
                f"expected {_shown(before)} as before the step"
            )


def _check_array(name: str, call: str, x: Any, shape: tuple[int, ...]) -> None:
    if not _is_kind(x, jnp.floating, shape):
        raise errors.InputError(
            f"{name}: {call} returned {_shown(x)}; expected floating-point numbers of "
            f"shape {list(shape)}"
        )


def _is_kind(value: Any, kind: Any, shape: tuple[int, ...]) -> bool:
    """Whether a value is an array or number of a kind and shape."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float):
        return False
    return jnp.issubdtype(jnp.result_type(value), kind) and jnp.shape(value) == shape


def _kind(value: Any) -> Any:
    """Return shape and type; a Python number has those that JAX gives it."""
    dtype = getattr(value, "dtype", None)
    return jnp.shape(value), jnp.result_type(value) if dtype is None else dtype


def _shown(value: Any) -> str:
    """Describe a value in a few words."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return f"{value.dtype} {list(value.shape)}"
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list) and len(value) < 5:
        return f"a {type(value).__name__} of ({', '.join(map(_shown, value))})"
    return f"a {type(value).__name__}"
