"""IvOM, inference via optimization: how near a generator can come to a real image.

The error of an image x is the minimum over z of the mean of (G(z) - x)^2 over all
values of the image, found by L-BFGS from several starts. A generator that dropped a
mode cannot come near its images. Published numbers are for pixels in [0, 1], so a
generator of pixels in [-1, 1] needs `(G(z) + 1) / 2`.

Dimension key: N images, X values of an image (any shape), Z latent, K starts,
R reports, D devices.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P
from jax.tree_util import Partial

from veegan_jax.common import errors
from veegan_jax.metrics import batched_lbfgs, ivom_checks
from veegan_jax.runtime import numerics

Sample = batched_lbfgs.Sample

# Of 4 to 256 lanes, 8 are fastest on CPU, by a tenth (28 x 28 and 32 x 32 pixels); more
# do not fit the cache. GPUs were not measured.
_LANES = {"cpu": 8}
_OTHER_LANES = 512
_ROUNDS = 32  # pairs per lane and call; near the end of a call some lanes are idle
_DRAWN = 256  # images whose starts one call draws


class Result(NamedTuple):
    """The result for each image. Errors are in the squared unit of the values."""

    error_N: np.ndarray  # the lowest over the starts, at the end; inf: none was finite
    z_NZ: np.ndarray  # its z
    curve_NR: np.ndarray  # the lowest over the starts after each of `report_at`
    converged_N: np.ndarray  # bool: the best start stopped by itself; see `ivom`
    iterations_N: np.ndarray  # int32, of the best start
    error_NK: np.ndarray  # of every start, at the end
    evaluations_NK: np.ndarray  # int32: evaluations of error and gradient, every start
    flat_NK: np.ndarray  # bool: the gradient at the start is exactly 0: no search


@numerics.standard
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
    """Minimise the mean squared error of every image over z.

    A pair of an image and a start stops when an iteration lowers its error by at most
    rtol of it, when the gradient's norm is at most that, or when no step lowers it. A
    start with a gradient of exactly 0 is not searched, and has not converged; if all
    are so, a warning says it.

    Converged is not the same as minimal. Where directions of z move the image by very
    different lengths, the gradient's rounding hides the shortest. A linear G with
    scales from 1 to 1e-3 stopped within 1 % of its minimum for most images, and up to
    10 % above it for some, also with rtol=0. With scales from 1 to 0.1 it stopped
    within 0.01 %.

        generate = functools.partial(base.generate, config=config)  # once
        sample = jax.tree_util.Partial(generate, state)  # for every checkpoint
        ivom(sample, x_NHWC, key, latent_size=64, value_range=(-1, 1)).error_N / 4

    Args:
      sample: G, z [B, Z] -> x [B, ...], differentiable. It is called with one z under
        vmap, so BatchNorm must be in inference mode. Pass the weights as arrays in a
        `jax.tree_util.Partial` of the same function: it is then compiled once for all
        weights, N, `iterations` and values of `report_at`.
      targets_NX: real images, floats [N, ...], in the range of G's images.
      key: typed key of the starts.
      latent_size: Z.
      starts: K. The key, the image's id and the start's number determine each start
        z ~ N(0, I).
      iterations: of L-BFGS, at most, for each pair.
      report_at: the iterations whose errors are reported, rising; 0: the starts.
      ids_N: integers of 0 to 2**32 - 1 that name the images; None: 0 to N - 1.
      start_z_NKZ: starts to use instead, such as a reconstructor's, with K = 1.
      rtol: tolerance of the stopping rules. Rounding is about 1e-7 of an error in
        float32.
      memory_mib: MiB that a device may use beside G's weights.
      devices: to spread the images over; None: all of this process.
      parallel: "pmap"; "jit", with shardings; "none", the first device only.
      value_range: range of the targets, which is checked; None: any.

    Returns:
      A Result. The entries of an image do not depend on the other images, on the memory
      or on the devices, up to the rounding of G's batches.

    Raises:
      InputError: see `ivom_checks.check`; or if no error is finite.

    Source: Metz et al. 2017, section 3.4; VEEGAN, section 4.2.
    """
    targets_NX = np.asarray(targets_NX)
    sample = sample if isinstance(sample, Partial) else Partial(sample)
    ivom_checks.check(
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
    result = _minimize(
        sample,
        targets_NX.astype(np.float32),
        np.asarray(start_z_NKZ, np.float32),
        options,
        memory=memory_mib * 2**20,
        devices=devices[:1] if parallel == "none" else devices,
        jit=parallel == "jit",
    )
    if not np.isfinite(result.error_NK).any():
        raise errors.InputError(
            "the generator makes NaN or infinity of every z that was tried; give one "
            "whose images are finite"
        )
    if result.flat_NK.all():
        _say_flat(sample.func)
    return result


@functools.lru_cache(16)
def _say_flat(generator: Callable[..., Any]) -> None:
    """Warn once of a generator, whatever the number of calls."""
    del generator
    logging.warning(
        "the generator's gradient is zero at every start, so nothing was searched and "
        "the errors are those of the starts: it is constant, or it rounds, casts or "
        "compares"
    )


@numerics.standard
def best_of_random(
    sample: Sample,
    targets_NX: Any,
    key: jax.Array,
    latent_size: int,
    num: int = 3,
    **options: Any,
) -> np.ndarray:
    """Compute the best error over the starts of `ivom`, without optimization.

    Args:
      sample: G; see `ivom` for all arguments.
      targets_NX: real images.
      key: of the starts.
      latent_size: Z.
      num: starts for each image; the best one counts.
      **options: other arguments of `ivom`, except `iterations` and `report_at`.

    Returns:
      float32 [N].
    """
    # Three reports, as by default, so that the program is the same.
    options |= dict(latent_size=latent_size, starts=num, report_at=(0, 1, 2))
    result = ivom(sample, targets_NX, key, iterations=2, **options)
    return result.curve_NR[:, 0]


@numerics.standard
def draw_starts(
    key: jax.Array, ids_N: Any, starts: int, latent_size: int
) -> np.ndarray:
    """Draw z ~ N(0, I) [N, K, Z]; key, id and number determine each."""
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
    minimize = functools.partial(batched_lbfgs.minimize, lanes=lanes)
    if not jit:
        return jax.pmap(minimize, in_axes=(None, 0, 0, 0, None), devices=devices)

    def one_device(sample, targets, start_z, count, options):
        pairs = minimize(sample, targets[0], start_z[0], count[0], options)
        return jax.tree.map(lambda a: a[None], pairs)

    one_each = P("devices")
    # check_vma=False since nothing crosses devices.
    return jax.jit(
        jax.shard_map(
            one_device,
            mesh=jax.sharding.Mesh(devices, ("devices",)),
            in_specs=(P(), one_each, one_each, one_each, P()),
            out_specs=one_each,
            check_vma=False,
        )
    )


def _minimize(
    sample: Partial,
    targets_NX: np.ndarray,
    start_z_NKZ: np.ndarray,
    options: batched_lbfgs.Options,
    *,
    memory: float,
    devices: tuple[jax.Device, ...],
    jit: bool,
) -> Result:
    """Spread the images evenly over calls of one program, and pick the best starts.

    Shares are padded to one size. A device stops after its own images, so padding
    costs nothing.
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
        flat_NK=np.isfinite(pairs.error)
        & (pairs.evaluations == 1)
        & (pairs.iterations == 0)
        & ~pairs.converged,
    )


_evaluate = jax.jit(jax.value_and_grad(batched_lbfgs.error, argnums=1))


def _num_lanes(
    sample: Partial, target_X: np.ndarray, z_Z: np.ndarray, memory: float
) -> int:
    """Return how many lanes fit into the memory, at most the fastest number.

    A lane takes at most all intermediate values of one error and gradient, as if none
    were freed, and three copies of L-BFGS's 2 x 10 differences and few vectors.
    """
    jaxpr = _evaluate.trace(sample, z_Z, target_X).jaxpr
    size = _bytes(jaxpr.jaxpr) + 3 * 30 * z_Z.nbytes
    most = _LANES.get(jax.default_backend(), _OTHER_LANES)
    return max(1, min(most, int(memory / size)))


def _bytes(jaxpr: Any) -> int:
    """Return the bytes of all values that a jaxpr and its inner ones compute."""
    total = 0
    for eqn in jaxpr.eqns:
        total += sum(v.aval.size * v.aval.dtype.itemsize for v in eqn.outvars)
        for inner in jax.tree.leaves(list(eqn.params.values())):
            inner = getattr(inner, "jaxpr", inner)
            total += _bytes(inner) if hasattr(inner, "eqns") else 0
    return total
