"""One training step on one device or many: seeds over devices, or a batch over them.

A step here is `step(state, axis_name) -> (state, metrics)`; it knows no GAN.

Dimension key: S seeds, T steps, B batch, D devices.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from veegan_jax.common import errors
from veegan_jax.runtime import distributed, seed_shares

BATCH_AXIS = "batch"
MODES = ("none", "jit", "pmap")

Step = Callable[..., tuple[Any, Any]]


def mean(tree: Any, axis_name: str | None) -> Any:
    """Average a tree over a mapped axis; without one, return it as it is."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def gather(x_B: jax.Array, axis_name: str | None) -> jax.Array:
    """Return the rows of all devices of a mapped axis; without one, x as it is."""
    if axis_name is None:
        return x_B
    return jax.lax.all_gather(x_B, axis_name, tiled=True)


def size(axis_name: str | None) -> int:
    """Return how many devices a mapped axis has; 1 without one."""
    return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def local_examples(array: jax.Array, rows: int, axis_name: str | None) -> jax.Array:
    """Slice out this device's examples.

    Args:
      array: one row for every example of the whole batch.
      rows: examples on this device.
      axis_name: the mapped batch axis, or None on a single device.

    Returns:
      The rows of this device's examples, [rows, ...].
    """
    if axis_name is None:
        return array
    first = jax.lax.axis_index(axis_name) * rows
    return jax.lax.dynamic_slice_in_dim(array, first, rows)


@jax.custom_batching.custom_vmap
def any_member(flag: jax.Array) -> jax.Array:
    """Return whether a flag is set for any of the seeds that `vmap` maps over.

    The result is the same for all of them, so a `lax.cond` on it stays a branch under
    `vmap`. Without `vmap` it is the flag.
    """
    return flag


@any_member.def_vmap
def _any_member_of(axis_size, in_batched, flag):
    del axis_size
    return any_member(jnp.any(flag, axis=0) if in_batched[0] else flag), False


def check(
    mode: str, batch_size: int, num_devices: int, flag: str = "batch_size"
) -> None:
    """Refuse a mode that does not exist and a batch that cannot be split.

    Args:
      mode: one of `MODES`.
      batch_size: examples of a batch, over all devices.
      num_devices: how many devices there are.
      flag: the flag that sets the batch size.

    Raises:
      InputError: naming the flag, its value and what to give instead.
    """
    if mode not in MODES:
        raise errors.InputError(
            f"--parallel={mode!r} must be one of {', '.join(MODES)}"
        )
    if mode != "none" and batch_size % num_devices:
        raise errors.InputError(
            f"--{flag}={batch_size} does not divide over {num_devices} devices; "
            f"give a multiple of {num_devices}, or --parallel=none"
        )


def run_steps(
    step: Step,
    num_steps: int,
    *,
    mode: str,
    devices: Sequence[jax.Device],
    data: Any = None,
    streamed: bool = False,
    lower_only: bool = False,
) -> Callable[..., Any]:
    """Compile `num_steps` steps of all seeds into one program.

    Args:
      step: a pure step. Its state is a dataclass with an integer field `step`.
      num_steps: T, the steps per call.
      mode: "none": each device runs whole batches of its share of the seeds. "jit":
        NamedSharding and the compiler split every batch over the devices. "pmap":
        jax.pmap splits every batch, and the step itself calls pmean.
      devices: the devices of all processes; each process has equally many.
      data: arrays that every step reads, copied to each device once. The step takes
        them as its first argument.
      streamed: each step takes its own batch as its last argument.
      lower_only: the function only lowers the program of one device.

    Returns:
      A function of the state of all seeds, leaves [S, ...]. It returns the new state
      and the metrics, leaves [S, T]. A seed whose metrics or parameters became
      non-finite keeps its old state and so its old step count. If `streamed`, the
      second argument holds the batches, leaves [T, B, ...], placed by `batch_placer`.
      With several processes, each passes and gets the whole state on its own devices.
    """

    devices, here = in_order(devices)

    def one_seed(state, data, batches, axis_name=None):
        bound = step if data is None else functools.partial(step, data)

        def body(carry, batch):
            return bound(carry, axis_name, *([batch] if streamed else []))

        new, metrics = jax.lax.scan(body, state, batches, length=num_steps)
        ok = _all_finite(metrics) & _all_finite(new)
        return jax.tree.map(functools.partial(choose, ok), new, state), metrics

    if mode == "pmap":
        run: Any = functools.partial(one_seed, axis_name=BATCH_AXIS)
        mapped = jax.pmap(
            lambda state, data, batches, _: jax.vmap(run, (0, None, None))(
                state, data, batches
            ),
            BATCH_AXIS,
            in_axes=(None, None, 0, 0),
            out_axes=None,
            devices=devices,
        )
        mapped = mapped.lower if lower_only else mapped
        # pmap needs one argument with a device axis. The state is placed as pmap
        # returns it, so that the second call does not compile again.
        axis = np.zeros(len(here))
        replicated = NamedSharding(jax.sharding.Mesh(here, (BATCH_AXIS,)), P())
        data = jax.device_put(data, replicated)
        return lambda state, batches=None: mapped(
            jax.device_put(state, replicated), data, batches, axis
        )
    if mode == "jit":
        mesh = jax.sharding.Mesh(devices, (BATCH_AXIS,))
        everywhere = NamedSharding(mesh, P())
        run = jax.jit(jax.vmap(one_seed, (0, None, None)), out_shardings=everywhere)
        run = run.lower if lower_only else run
        data = replicate(data, mesh)

        def run_in_mesh(state, batches=None):
            with jax.set_mesh(mesh):
                result = run(replicate(state, mesh), data, batches)
            whole = lower_only or len(here) == len(devices)
            return result if whole else _one_copy(result)

        return run_in_mesh
    if lower_only:
        run = jax.jit(jax.vmap(one_seed, (0, None, None)))

        def lower_share(state, batches=None):
            share = -(-len(jax.tree.leaves(state)[0]) // len(devices))
            return run.lower(jax.tree.map(lambda a: a[:share], state), data, batches)

        return lower_share
    run = seed_shares.over_devices(jax.vmap(one_seed, (0, None, None)), here, data)
    if len(here) == len(devices):
        return run
    return seed_shares.over_processes(run, here[0])


def batch_placer(
    mode: str, devices: Sequence[jax.Device], seeds: int
) -> Callable[[Any], Any]:
    """Return a function that places batches on devices as `run_steps` needs them.

    Args:
      mode, devices: as given to `run_steps`.
      seeds: S.

    Returns:
      A function of a tree of host arrays [T, B, ...]. Another thread may call it while
      steps run.
    """
    devices, here = in_order(devices)
    if mode == "none":
        share = -(-seeds * len(here) // len(devices))
        groups = seed_shares.groups(here, share)
        used = [device for group, _ in groups for device in group]
        mesh = jax.sharding.Mesh(used, (seed_shares.SEED_AXIS,))
        return functools.partial(jax.device_put, device=NamedSharding(mesh, P()))
    if mode == "jit":
        mesh = jax.sharding.Mesh(devices, (BATCH_AXIS,))
        rows = NamedSharding(mesh, P(None, BATCH_AXIS))
        place = functools.partial(jax.make_array_from_process_local_data, rows)
        return functools.partial(jax.tree.map, place)

    def by_device(array_TB):  # pmap needs [D, T, B / D, ...]
        steps, batch, *rest = array_TB.shape
        shape = steps, len(here), batch // len(here), *rest
        return np.ascontiguousarray(array_TB.reshape(shape).swapaxes(0, 1))

    first = NamedSharding(jax.sharding.Mesh(here, (BATCH_AXIS,)), P(BATCH_AXIS))
    return lambda batches: jax.device_put(jax.tree.map(by_device, batches), first)


def part(mode: str) -> tuple[int, int]:
    """Return which part of every batch this process provides: (part, of how many)."""
    if mode == "none":
        return 0, 1  # each seed takes whole batches
    return jax.process_index(), distributed.num_processes()


def in_order(
    devices: Iterable[jax.Device],
) -> tuple[list[jax.Device], list[jax.Device]]:
    """Sort devices by process, so that a process has neighbouring rows of a batch.

    Returns:
      All devices, and those of this process.
    """
    devices = sorted(devices, key=lambda d: (d.process_index, d.id))
    return devices, [d for d in devices if d.process_index == jax.process_index()]


def replicate(tree: Any, mesh: jax.sharding.Mesh) -> Any:
    """Put this process's arrays on its own devices of a mesh of all processes.

    `jax.device_put` would compare the arrays of all processes first.
    """
    everywhere = NamedSharding(mesh, P())
    _, here = in_order(mesh.devices.flat)
    if len(here) == mesh.size:
        return jax.device_put(tree, everywhere)
    local = NamedSharding(jax.sharding.Mesh(here, mesh.axis_names), P())

    def one(array: jax.Array) -> jax.Array:
        shards = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, everywhere, shards)

    return jax.tree.map(one, jax.device_put(tree, local))


def _one_copy(tree: Any) -> Any:
    """Return replicated arrays as arrays of this process's first device."""
    return jax.tree.map(lambda array: array.addressable_shards[0].data, tree)


def choose(ok: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """Return `new` if ok, else `old`; always `old` for keys, which never change."""
    if jnp.issubdtype(new.dtype, jax.dtypes.prng_key):
        return old
    return jnp.where(ok, new, old)


def compile_options_of_init(exact: bool = False) -> dict[str, Any] | None:
    """Return options for `jax.jit` of programs that run once, such as `init`.

    On CPU LLVM takes seconds, with many kernels 40, to compile programs that run for
    milliseconds.

    Args:
      exact: whether results round as without options, as records need that were made
        without. It saves two fifths of the time, and otherwise half and more.
    """
    if jax.default_backend() != "cpu":
        return None
    if exact:  # the same fused multiply-adds
        return {"xla_backend_optimization_level": 1}
    return {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }


def shard_examples(x: jax.Array) -> jax.Array:
    """Split the rows of x over the mesh in `jit` mode; in other modes return x."""
    if _devices_of_jit() > 1:
        return jax.lax.with_sharding_constraint(x, P(BATCH_AXIS))
    return x


def concat_examples(*parts: jax.Array) -> jax.Array:
    """Concatenate batches of one size without moving a row to another device.

    In `jit` mode each device has its rows of the first part, then its rows of the
    next, as in `pmap` mode. In other modes this is `jnp.concatenate`.
    """
    devices = _devices_of_jit()
    if devices == 1:
        return jnp.concatenate(parts)
    blocks = [x.reshape(devices, -1, *x.shape[1:]) for x in parts]
    return shard_examples(
        jnp.concatenate(blocks, axis=1).reshape(-1, *parts[0].shape[1:])
    )


def split_examples(x: jax.Array, num_parts: int = 2) -> list[jax.Array]:
    """Undo `concat_examples`, also after a function of each row."""
    devices = _devices_of_jit()
    if devices == 1:
        return jnp.split(x, num_parts)
    blocks = jnp.split(x.reshape(devices, -1, *x.shape[1:]), num_parts, axis=1)
    return [shard_examples(block.reshape(-1, *x.shape[1:])) for block in blocks]


def _devices_of_jit() -> int:
    """Return over how many devices `jit` mode splits rows; 1 in other modes."""
    mesh = jax.sharding.get_abstract_mesh()
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    split = types.get(BATCH_AXIS) == jax.sharding.AxisType.Auto  # under pmap: Manual
    return mesh.shape[BATCH_AXIS] if split else 1


def _all_finite(tree: Any) -> jax.Array:
    leaves = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.inexact)]
    finite = [jnp.all(jnp.isfinite(a)) for a in leaves]
    return jnp.all(jnp.stack(finite)) if finite else jnp.array(True)
