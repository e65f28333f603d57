"""IvOM, inference via optimization: how near a generator can come to a real image.

For an image x: the minimum over z of the mean of (G(z) - x)^2 over all values of the
image, by L-BFGS from several starts. A generator that dropped a mode cannot come near
its images. The unit is the values' squared: published numbers are of pixels in [0, 1],
so a generator of [-1, 1] needs `(G(z) + 1) / 2`.

Dimension key: N images, X values of an image (any shape), Z latent, K starts,
R reports, D devices.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jax.tree_util import Partial

from veegan_jax.common import errors
from veegan_jax.metrics import batched_lbfgs

Sample = batched_lbfgs.Sample

# Measured on CPU with G of 28 x 28 and 32 x 32 pixels: of 4 to 256 lanes 8 are fastest,
# by a tenth; more outgrow the cache. Not measured on GPUs.
_LANES = {"cpu": 8}
_OTHER_LANES = 512
_ROUNDS = 32  # pairs per lane and call; the lanes that run dry at its end are idle
_DRAWN = 256  # images whose starts are drawn by one call


class Result(NamedTuple):
    """What was found for each image. Errors are in the values' unit, squared."""

    error_N: np.ndarray  # the lowest over the starts, at the end; inf: none was finite
    z_NZ: np.ndarray  # that has it
    curve_NR: np.ndarray  # the lowest over the starts after each of `report_at`
    converged_N: np.ndarray  # bool: the start that won stopped by itself, at a minimum
    iterations_N: np.ndarray  # int32, of the start that won
    error_NK: np.ndarray  # of every start, at the end
    evaluations_NK: np.ndarray  # int32: errors and gradients that every start took


def ivom(
    sample: Sample,
    targets_NX: Any,
    key: jax.Array,
    *,
    latent_size: int,
    starts: int = 3,
    iterations: int = 200,
    report_at: Sequence[int] = (5, 25, 200),
    ids_N: Any = None,
    start_z_NKZ: Any = None,
    rtol: float = 1e-6,
    memory_mib: float = 1024,
    devices: Sequence[jax.Device] | None = None,
    parallel: str = "pmap",
    value_range: tuple[float, float] | None = (0, 1),
) -> Result:
    """Minimises the mean squared error of every image over z.

    A pair stops when an iteration lowers its error by at most rtol of it, when the
    gradient's norm is at most that, or when no step can be found that lowers it.

        generate = functools.partial(base.generate, config=config)  # once
        sample = jax.tree_util.Partial(generate, state)  # for every checkpoint
        ivom(sample, x_NHWC, key, latent_size=64, value_range=(-1, 1)).error_N / 4

    Args:
      sample: G, z [B, Z] -> x [B, ...], differentiable; it is called with one z under
        vmap, so BatchNorm must be in inference mode. The same function with weights
        as arrays in a `jax.tree_util.Partial` is compiled once, whatever the weights,
        N, `iterations` and values of `report_at`; another function object is another
        program.
      targets_NX: real images, floats [N, ...], in the range of G's.
      key: typed, of the starts.
      latent_size: Z.
      starts: K, each z ~ N(0, I) a function of the key, the image's id and the start's
        number alone.
      iterations: of L-BFGS, at most, for each pair.
      report_at: the iterations whose errors are reported, rising; 0: the starts.
      ids_N: integers of 0 to 2**32 - 1 that name the images; 0 to N - 1 if None.
      start_z_NKZ: starts to use instead, such as a reconstructor's, with K = 1.
      rtol: of the rules to stop. Rounding is about 1e-7 of an error in float32.
      memory_mib: bounds what a device holds, MiB; G's weights come on top.
      devices: to spread the images over; None: all of this process.
      parallel: how: "pmap", or "jit" with shardings; "none": only the first one.
      value_range: of the targets, which are checked; None: any.

    Returns:
      A Result. What belongs to an image does not depend on the others, their order or
      number, on the memory or the devices, but for the rounding of G's batches.

    Raises:
      InputError: see `check`.

    Source: Metz et al. 2017, section 3.4; VEEGAN, section 4.2.
    """
    targets_NX = np.asarray(targets_NX)
    sample = sample if isinstance(sample, Partial) else Partial(sample)
    check(
        sample,
        targets_NX,
        latent_size=latent_size,
        starts=starts,
        iterations=iterations,
        report_at=report_at,
        ids_N=ids_N,
        start_z_NKZ=start_z_NKZ,
        value_range=value_range,
    )
    if start_z_NKZ is None:
        ids_N = np.arange(len(targets_NX)) if ids_N is None else ids_N
        start_z_NKZ = draw_starts(key, ids_N, starts, latent_size)
    devices = tuple(jax.local_devices() if devices is None else devices)
    options = batched_lbfgs.Options(
        np.int32(iterations), np.asarray(report_at, np.int32), np.float32(rtol)
    )
    return _minimise(
        sample,
        targets_NX.astype(np.float32),
        np.asarray(start_z_NKZ, np.float32),
        options,
        memory=memory_mib * 2**20,
        devices=devices[:1] if parallel == "none" else devices,
        jit=parallel == "jit",
    )


def best_of_random(
    sample: Sample,
    targets_NX: Any,
    key: jax.Array,
    latent_size: int,
    num: int = 3,
    **options: Any,
) -> np.ndarray:
    """Errors of the same starts as `ivom`'s without optimization: the best of a few z.

    Args:
      sample: as in `ivom`, like the arguments that follow.
      targets_NX: real images.
      key: of the draws.
      latent_size: Z.
      num: draws for each image, of which the best counts.
      **options: others of `ivom`, but for `iterations` and `report_at`.

    Returns:
      float32 [N].
    """
    # Three reports, as by default: the same program.
    options |= dict(latent_size=latent_size, starts=num, report_at=(0, 1, 2))
    result = ivom(sample, targets_NX, key, iterations=2, **options)
    return result.curve_NR[:, 0]


def check(
    sample: Sample,
    targets_NX: Any,
    *,
    latent_size: int,
    starts: int = 3,
    iterations: int = 200,
    report_at: Sequence[int] = (5, 25, 200),
    ids_N: Any = None,
    start_z_NKZ: Any = None,
    value_range: tuple[float, float] | None = (0, 1),
) -> None:
    """Refuses, before any work, what `ivom` could not use. Arguments are its own.

    Raises:
      InputError: for images, ids or starts of a wrong shape, kind or range, for a
        generator that does not make such images of such z, and for counts below 1.
    """
    targets_NX = np.asarray(targets_NX)
    _check_images(targets_NX, value_range)
    counts = {"starts": starts, "iterations": iterations, "latent_size": latent_size}
    for name, value in counts.items():
        if value < 1:
            raise errors.InputError(f"{name}={value} must be at least 1")
    rising = list(report_at) == sorted(set(report_at))
    if not len(report_at) or not rising or report_at[0] < 0:
        raise errors.InputError(f"report_at={report_at} must rise, from 0 or more")
    if report_at[-1] > iterations:
        raise errors.InputError(f"report_at={report_at} exceeds {iterations=}")
    num = len(targets_NX)
    if ids_N is not None:
        ids_N = np.asarray(ids_N)
        if ids_N.shape != (num,) or not np.issubdtype(ids_N.dtype, np.integer):
            raise errors.InputError(
                f"ids have shape {ids_N.shape} and type {ids_N.dtype}; {num} images "
                f"need integers of shape ({num},)"
            )
        if ids_N.min() < 0 or ids_N.max() >= 2**32:
            raise errors.InputError("ids must be of 0 to 2**32 - 1")
    if start_z_NKZ is not None:
        shape = np.shape(start_z_NKZ)
        if len(shape) != 3 or shape[::2] != (num, latent_size) or not shape[1]:
            raise errors.InputError(
                f"starts have shape {shape}; {num} images need [{num}, number of "
                f"starts, {latent_size}]"
            )
    _check_generator(sample, targets_NX.shape[1:], latent_size)


def _check_images(x_NX: np.ndarray, value_range: tuple[float, float] | None) -> None:
    if x_NX.ndim < 2 or not x_NX.size:
        raise errors.InputError(
            f"images have shape {x_NX.shape}; give [number of images, ...]"
        )
    if not np.issubdtype(x_NX.dtype, np.floating):
        raise errors.InputError(
            f"images are {x_NX.dtype}; give floats in G's range, such as x / 255"
        )
    x_NX = x_NX.reshape(len(x_NX), -1)
    bad = np.sum(~np.isfinite(x_NX).all(axis=1))
    if bad:
        raise errors.InputError(f"{bad} of {len(x_NX)} images hold NaN or infinity")
    if value_range is None:
        return
    low, high = value_range
    slack = 1e-5 * (high - low)  # of resizing and rounding
    bad = np.sum((x_NX.min(axis=1) < low - slack) | (x_NX.max(axis=1) > high + slack))
    if bad:
        lowest, highest = x_NX.min(), x_NX.max()
        advice = "rescale them, or say value_range"
        if lowest >= 0 and 2 < highest <= 255:
            advice = "they look like 0..255: divide by 255 for (0, 1)"
        elif (low, high) == (0, 1) and lowest >= -1.01 and highest <= 1.01:
            advice = (
                "they look like -1..1: give (x + 1) / 2 of images and generator, or "
                "value_range=(-1, 1), which makes errors four times as large"
            )
        raise errors.InputError(
            f"{bad} of {len(x_NX)} images have values outside value_range="
            f"({low:g}, {high:g}), found {lowest:g} to {highest:g}; {advice}"
        )


def _check_generator(sample: Sample, shape: tuple[int, ...], latent_size: int) -> None:
    sample = sample if isinstance(sample, Partial) else Partial(sample)
    try:
        x_2X = jax.eval_shape(
            _call, sample, jax.ShapeDtypeStruct((2, latent_size), jnp.float32)
        )
    except Exception as e:  # whatever G raises of sizes that do not fit
        raise errors.InputError(
            f"the generator does not take z of shape [2, {latent_size}] (latent_size="
            f"{latent_size}): {type(e).__name__}: {e}"
        ) from e
    if getattr(x_2X, "shape", None) != (2, *shape):
        found = jax.tree.map(lambda leaf: leaf.shape, x_2X)
        raise errors.InputError(
            f"the generator makes {found} of z [2, {latent_size}]; images of shape "
            f"{list(shape)} need [2, {', '.join(map(str, shape))}]"
        )


def _call(sample: Sample, z_BZ: jax.Array) -> jax.Array:
    return sample(z_BZ)


def draw_starts(
    key: jax.Array, ids_N: Any, starts: int, latent_size: int
) -> np.ndarray:
    """z ~ N(0, I), float32 [N, K, Z]: each a function of key, id and number alone."""
    ids_N = np.asarray(ids_N).astype(np.uint32)
    parts = []
    for i in range(0, len(ids_N), _DRAWN):
        some = ids_N[i : i + _DRAWN]
        z_NKZ = _draw(key, np.resize(some, _DRAWN), starts, latent_size)
        parts.append(np.asarray(z_NKZ)[: len(some)])
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _draw(key: jax.Array, ids_N: jax.Array, starts: int, size: int) -> jax.Array:
    def one(image, number):
        key_z = jax.random.fold_in(jax.random.fold_in(key, image), number)
        return jax.random.normal(key_z, (size,))

    every = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
    return every(ids_N, jnp.arange(starts))


@functools.cache
def _program(
    devices: tuple[jax.Device, ...], lanes: int, jit: bool
) -> Callable[..., Any]:
    minimise = functools.partial(batched_lbfgs.minimise, lanes=lanes)
    if not jit:
        return jax.pmap(minimise, in_axes=(None, 0, 0, 0, None), devices=devices)

    def one_device(sample, targets, start_z, count, options):
        pairs = minimise(sample, targets[0], start_z[0], count[0], options)
        return jax.tree.map(lambda a: a[None], pairs)

    one_each = P("devices")
    # check_vma=False: nothing crosses devices, so no rule is needed.
    return jax.jit(
        jax.shard_map(
            one_device,
            mesh=jax.sharding.Mesh(devices, ("devices",)),
            in_specs=(P(), one_each, one_each, one_each, P()),
            out_specs=one_each,
            check_vma=False,
        )
    )


def _minimise(
    sample: Partial,
    targets_NX: np.ndarray,
    start_z_NKZ: np.ndarray,
    options: batched_lbfgs.Options,
    *,
    memory: float,
    devices: tuple[jax.Device, ...],
    jit: bool,
) -> Result:
    """Spreads the images evenly over calls of one program, and picks the best starts.

    Shares are padded to one size; a device stops after its own, so padding is free.
    """
    num, num_starts, _ = start_z_NKZ.shape
    lanes = _num_lanes(sample, targets_NX[0], start_z_NKZ[0, 0], 0.75 * memory)
    room = max(
        1, min(_ROUNDS * lanes // num_starts, int(0.25 * memory / targets_NX[0].nbytes))
    )
    calls = -(-num // (room * len(devices)))
    shares = np.array_split(np.arange(num), calls * len(devices))
    program = _program(devices, lanes, jit)
    found = []
    for i in range(0, len(shares), len(devices)):
        some = shares[i : i + len(devices)]
        index_DN = np.stack([np.resize(np.append(s, 0), room) for s in some])
        count_D = np.array([len(s) for s in some], np.int32)
        leaves = program(
            sample, targets_NX[index_DN], start_z_NKZ[index_DN], count_D, options
        )
        leaves = jax.tree.map(np.asarray, leaves)
        for d, n in enumerate(count_D * num_starts):
            found.append(jax.tree.map(lambda a, d=d, n=n: a[d, :n], leaves))
    pairs = jax.tree.map(lambda *a: np.concatenate(a), *found)
    pairs = jax.tree.map(lambda a: a.reshape(num, num_starts, *a.shape[1:]), pairs)
    winner = np.arange(num), np.argmin(pairs.error, axis=1)
    return Result(
        error_N=pairs.error[winner],
        z_NZ=pairs.z_Z[winner],
        curve_NR=pairs.curve_R.min(axis=1),
        converged_N=pairs.converged[winner],
        iterations_N=pairs.iterations[winner],
        error_NK=pairs.error,
        evaluations_NK=pairs.evaluations,
    )


_evaluate = jax.jit(jax.value_and_grad(batched_lbfgs.error, argnums=1))


def _num_lanes(
    sample: Partial, target_X: np.ndarray, z_Z: np.ndarray, memory: float
) -> int:
    """As many as the memory holds, at most the number that is fastest.

    A lane takes at most: every intermediate value of one error and gradient, as if
    none were freed, and three copies of L-BFGS's 2 x 10 differences and few vectors.
    """
    jaxpr = _evaluate.trace(sample, z_Z, target_X).jaxpr
    size = _bytes(jaxpr.jaxpr) + 3 * 30 * z_Z.nbytes
    most = _LANES.get(jax.default_backend(), _OTHER_LANES)
    return max(1, min(most, int(memory / size)))


def _bytes(jaxpr: Any) -> int:
    """Of all values that a jaxpr computes, its inner ones' included."""
    total = 0
    for eqn in jaxpr.eqns:
        total += sum(v.aval.size * v.aval.dtype.itemsize for v in eqn.outvars)
        for inner in jax.tree.leaves(list(eqn.params.values())):
            inner = getattr(inner, "jaxpr", inner)
            total += _bytes(inner) if hasattr(inner, "eqns") else 0
    return total
