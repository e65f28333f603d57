"""Several seeds on several devices or processes: each trains its share of the seeds.

Dimension key: S seeds.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from veegan_jax.runtime import distributed, numerics

SEED_AXIS = "seeds"


def groups(
    devices: list[jax.Device], seeds: int
) -> list[tuple[list[jax.Device], np.ndarray]]:
    """Group devices that run one program, and list the seeds that each group shares.

    Equal shares need one program only; the last seed is repeated as padding. If equal
    shares would leave devices idle, as 5 seeds on 4 devices, there are two groups.

    Args:
      devices: to run on.
      seeds: S.

    Returns:
      For each group, its devices and the indices of its seeds, devices one by one.
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


def over_devices(
    run: Callable[[Any, Any, Any], Any], devices: list[jax.Device], data: Any
) -> Callable[..., Any]:
    """Give each device its share of the seeds.

    Shares are cut and joined outside the compiled program. Inside, XLA would use
    collectives, and a device that waits 40 s at one aborts the process.

    Args:
      run: (states, data, batches) -> (states, metrics), leaves [S, ...].
      devices: of this process.
      data: copied to each device once.

    Returns:
      A function of (states, batches), as `parallel.run_steps` returns it. Its
      `compile_ahead` takes the shapes of the states and returns at once: the program
      compiles in a thread, for which the first call waits.
    """
    # Number of seeds -> the program of each group of devices.
    compiled: dict[int, list[Callable[[Any, Any], Any]]] = {}
    ahead: list[futures.Future] = []

    # `cut` is one program for all arrays. `device_put` would queue hundreds, one for
    # each piece of each array, and XLA's CPU client has been seen to hang on them.
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
        # check_vma=False since nothing crosses devices.
        program = jax.jit(
            jax.shard_map(
                run,
                mesh=mesh,
                in_specs=(P(SEED_AXIS), P(), P()),
                out_specs=P(SEED_AXIS),
                check_vma=False,
            )
        )

        def lower_group(state):
            padded = jax.tree.map(
                lambda a: jax.ShapeDtypeStruct(
                    (len(index), *a.shape[1:]), a.dtype, sharding=sharding
                ),
                state,
            )
            return program.lower(padded, copy, None)

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
            while ahead:
                ahead.pop().result()
            result = program(padded, copy, batches)
            return [
                jax.tree.map(lambda a, i=i: a.addressable_shards[i].data, result)
                for i in range(len(group))
            ]

        return run_group, lower_group

    def groups_of(state):
        seeds = jax.tree.leaves(state)[0].shape[0]
        if seeds not in compiled:
            shares = groups(devices, seeds)
            compiled[seeds] = [of_group(group, index) for group, index in shares]
        return compiled[seeds]

    def run_shares(state, batches=None):
        seeds = len(jax.tree.leaves(state)[0])
        state = jax.device_put(state, devices[0])
        parts = [
            part
            for run_group, _ in groups_of(state)
            for part in run_group(state, batches)
        ]
        return join(jax.device_put(parts, devices[0]), seeds)

    def compile_ahead(state):
        found = groups_of(state)

        @numerics.standard  # JAX's settings are those of a thread
        def compile_groups():
            for _, lower_group in found:
                lower_group(state).compile()  # JAX keeps it for the call

        pool = futures.ThreadPoolExecutor(1, "compile")
        ahead.append(pool.submit(compile_groups))
        pool.shutdown(wait=False)

    run_shares.compile_ahead = compile_ahead  # type: ignore[attr-defined]
    return run_shares


def over_processes(run: Callable[..., Any], device: jax.Device) -> Callable[..., Any]:
    """Give each process its share of the seeds, and every process all results."""

    def run_share(state, batches=None):
        seeds = len(jax.tree.leaves(state)[0])
        share = -(-seeds // distributed.num_processes())
        # `gather` needs equal shares, so the last seed may be taken twice.
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
