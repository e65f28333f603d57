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
from veegan_jax.runtime import distributed

BATCH_AXIS = "batch"
SEED_AXIS = "seeds"
MODES = ("none", "jit", "pmap")

Step = Callable[..., tuple[Any, Any]]


def mean(tree: Any, axis_name: str | None) -> Any:
    """Averages a tree over a mapped axis; without one, returns it as it is."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def size(axis_name: str | None) -> int:
    """How many devices a mapped axis has; without one, 1."""
    return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def local_examples(array: jax.Array, rows: int, axis_name: str | None) -> jax.Array:
    """Of an array with a row for every example of the batch, this device's rows."""
    if axis_name is None:
        return array
    first = jax.lax.axis_index(axis_name) * rows
    return jax.lax.dynamic_slice_in_dim(array, first, rows)


def check(
    mode: str, batch_size: int, num_devices: int, flag: str = "batch_size"
) -> None:
    """Refuse a mode that does not exist and a batch that cannot be split.

    Args:
      mode: one of `MODES`.
      batch_size: the batch over all devices.
      num_devices: how many there are.
      flag: that sets the batch size.

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
      mode: "none": each device runs whole batches of its share of the seeds;
        "jit": every batch is split over the devices, by NamedSharding and the
        compiler; "pmap": the same by jax.pmap, the step calling pmean itself.
      devices: what to run on, of all processes; each has as many.
      data: arrays that every step reads, copied to each device once; the step then
        takes them as its first argument.
      streamed: each step has a batch of its own, which it takes as its last argument.
      lower_only: the function lowers the program of one device, and runs nothing.

    Returns:
      A function of the state of all seeds, leaves [S, ...]. It returns the new state
      and the metrics, leaves [S, T]. A seed whose metrics or parameters became
      non-finite keeps the state it had, its step count telling so. If `streamed`, its
      second argument are the batches, leaves [T, B, ...], placed by `batch_placer`.
      With several processes each gives and gets the whole state, on its own devices.
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
        # pmap wants one argument with a device axis; a state placed as it leaves
        # pmap is not compiled for again.
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
    run = _over_devices(jax.vmap(one_seed, (0, None, None)), here, data)
    return run if len(here) == len(devices) else _over_processes(run, here[0])


def batch_placer(
    mode: str, devices: Sequence[jax.Device], seeds: int
) -> Callable[[Any], Any]:
    """How batches go to the devices on which `run_steps` wants them.

    Args:
      mode, devices: as given to `run_steps`.
      seeds: S.

    Returns:
      A function of arrays [T, B, ...] of the host, of a tree of them; it may be called
      in another thread while steps run.
    """
    devices, here = in_order(devices)
    if mode == "none":
        share = -(-seeds * len(here) // len(devices))
        used = [device for group, _ in _groups(here, share) for device in group]
        mesh = jax.sharding.Mesh(used, (SEED_AXIS,))
        return functools.partial(jax.device_put, device=NamedSharding(mesh, P()))
    if mode == "jit":
        mesh = jax.sharding.Mesh(devices, (BATCH_AXIS,))
        rows = NamedSharding(mesh, P(None, BATCH_AXIS))
        place = functools.partial(jax.make_array_from_process_local_data, rows)
        return functools.partial(jax.tree.map, place)

    def by_device(array_TB):  # pmap wants [D, T, B / D, ...]
        steps, batch, *rest = array_TB.shape
        shape = steps, len(here), batch // len(here), *rest
        return np.ascontiguousarray(array_TB.reshape(shape).swapaxes(0, 1))

    first = NamedSharding(jax.sharding.Mesh(here, (BATCH_AXIS,)), P(BATCH_AXIS))
    return lambda batches: jax.device_put(jax.tree.map(by_device, batches), first)


def part(mode: str) -> tuple[int, int]:
    """Which part of every batch this process provides: (number, of how many)."""
    if mode == "none":
        return 0, 1  # each of its seeds takes whole batches
    return jax.process_index(), distributed.num_processes()


def in_order(
    devices: Iterable[jax.Device],
) -> tuple[list[jax.Device], list[jax.Device]]:
    """Devices process by process, so that each has neighbouring rows of a batch.

    Returns:
      All of them, and those of this process.
    """
    devices = sorted(devices, key=lambda d: (d.process_index, d.id))
    return devices, [d for d in devices if d.process_index == jax.process_index()]


def replicate(tree: Any, mesh: jax.sharding.Mesh) -> Any:
    """Put this process's arrays on its devices of a mesh of all processes.

    `jax.device_put` would first compare the arrays of all processes.
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
    """Of arrays replicated over all processes, on this one's first device."""
    return jax.tree.map(lambda array: array.addressable_shards[0].data, tree)


def _groups(
    devices: list[jax.Device], seeds: int
) -> list[tuple[list[jax.Device], np.ndarray]]:
    """Devices that run one program together, and the seeds they share equally.

    Equal shares, the last seed repeated as padding, are one program to compile; where
    they would leave devices idle, as 5 seeds on 4 would, there are two.
    """
    share = -(-seeds // len(devices))
    used = -(-seeds // share)
    if share == 1 or used == len(devices):
        index = np.minimum(np.arange(share * used), seeds - 1)
        return [(devices[:used], index)]
    more = seeds % len(devices)  # devices with one seed more than the others
    index = np.arange(seeds)
    return [
        (devices[:more], index[: more * share]),
        (devices[more:], index[more * share :]),
    ]


def _over_devices(
    run: Callable[[Any, Any, Any], Any], devices: list[jax.Device], data: Any
) -> Callable[..., Any]:
    """Give each device its share of the seeds.

    Shares are cut and joined outside the compiled program: inside, they would be
    collectives, and a device kept waiting for 40 s at one aborts the process.
    """
    # By number of seeds, what each group of devices runs.
    compiled: dict[int, list[Callable[[Any, Any], Any]]] = {}

    # One program for all arrays: sharding an array by device_put queues one for each
    # of its pieces, hundreds in all, and XLA's CPU client has been seen to hang there.
    @jax.jit
    def cut(tree, index):
        return jax.tree.map(lambda a: a[index], tree)

    @functools.partial(jax.jit, static_argnames="seeds")
    def join(parts, seeds):
        return jax.tree.map(lambda *a: jnp.concatenate(a)[:seeds], *parts)

    def of_group(group, index):
        mesh = jax.sharding.Mesh(group, (SEED_AXIS,))
        sharding = NamedSharding(mesh, P(SEED_AXIS))
        copy = jax.device_put(data, NamedSharding(mesh, P()))
        # check_vma=False: nothing crosses devices, so no rule is needed.
        program = jax.jit(
            jax.shard_map(
                run,
                mesh=mesh,
                in_specs=(P(SEED_AXIS), P(), P()),
                out_specs=P(SEED_AXIS),
                check_vma=False,
            )
        )

        def run_group(state, batches):
            shares = [
                jax.device_put(cut(state, part), device)
                for part, device in zip(np.split(index, len(group)), group, strict=True)
            ]
            padded = jax.tree.map(
                lambda *a: jax.make_array_from_single_device_arrays(
                    (len(index), *a[0].shape[1:]), sharding, list(a)
                ),
                *shares,
            )
            batches = jax.device_put(batches, NamedSharding(mesh, P()))
            result = program(padded, copy, batches)
            return [
                jax.tree.map(lambda a, i=i: a.addressable_shards[i].data, result)
                for i in range(len(group))
            ]

        return run_group

    def run_shares(state, batches=None):
        seeds = len(jax.tree.leaves(state)[0])
        if seeds not in compiled:
            groups = _groups(devices, seeds)
            compiled[seeds] = [of_group(group, index) for group, index in groups]
        state = jax.device_put(state, devices[0])
        parts = [part for group in compiled[seeds] for part in group(state, batches)]
        return join(jax.device_put(parts, devices[0]), seeds)

    return run_shares


def _over_processes(run: Callable[..., Any], device: jax.Device) -> Callable[..., Any]:
    """Give each process its share of the seeds, and all of them every result."""

    def run_share(state, batches=None):
        seeds = len(jax.tree.leaves(state)[0])
        share = -(-seeds // distributed.num_processes())
        # Equal shares, for `gather`: the last seeds are taken twice.
        index = np.arange(share) + jax.process_index() * share
        index = np.minimum(index, seeds - 1)
        state = jax.tree.map(lambda a: a[index], jax.device_put(state, device))
        parts = distributed.gather(run(state, batches))
        joined = jax.tree.map(lambda *a: _concatenate(a)[:seeds], *parts)
        return jax.device_put(joined, device)

    return run_share


def _concatenate(arrays: Sequence[Any]) -> Any:
    if isinstance(arrays[0], np.ndarray):
        return np.concatenate(arrays)
    return jnp.concatenate(arrays)  # typed keys


def choose(ok: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """`new` where all is finite. Keys never change and must not be consumed."""
    if jnp.issubdtype(new.dtype, jax.dtypes.prng_key):
        return old
    return jnp.where(ok, new, old)


def compile_options_of_init() -> dict[str, Any] | None:
    """Options for `jax.jit` of what runs once, such as the drawing of weights.

    On CPU LLVM takes seconds, for many kernels 40, over programs of milliseconds. The
    result may differ by rounding, so a run whose records rest on it keeps the default.
    """
    if jax.default_backend() != "cpu":
        return None
    return {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    }


def shard_examples(x: jax.Array) -> jax.Array:
    """Split the rows of x over the mesh of `jit` mode; elsewhere return x."""
    if _devices_of_jit() > 1:
        return jax.lax.with_sharding_constraint(x, P(BATCH_AXIS))
    return x


def concat_examples(*parts: jax.Array) -> jax.Array:
    """Concatenate batches of one size without moving a row to another device.

    In `jit` mode each device's rows of the first part are followed by its rows of the
    next, as a device of `pmap` sees them; elsewhere this is `jnp.concatenate`.
    """
    devices = _devices_of_jit()
    if devices == 1:
        return jnp.concatenate(parts)
    blocks = [x.reshape(devices, -1, *x.shape[1:]) for x in parts]
    return shard_examples(
        jnp.concatenate(blocks, axis=1).reshape(-1, *parts[0].shape[1:])
    )


def split_examples(x: jax.Array, num_parts: int = 2) -> list[jax.Array]:
    """Take apart what `concat_examples` joined, or a function of it, row by row."""
    devices = _devices_of_jit()
    if devices == 1:
        return jnp.split(x, num_parts)
    blocks = jnp.split(x.reshape(devices, -1, *x.shape[1:]), num_parts, axis=1)
    return [shard_examples(block.reshape(-1, *x.shape[1:])) for block in blocks]


def _devices_of_jit() -> int:
    """Over how many devices `jit` mode splits rows; 1 in the other modes."""
    mesh = jax.sharding.get_abstract_mesh()
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    split = types.get(BATCH_AXIS) == jax.sharding.AxisType.Auto  # under pmap: Manual
    return mesh.shape[BATCH_AXIS] if split else 1


def _all_finite(tree: Any) -> jax.Array:
    leaves = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(a)) for a in leaves]))
