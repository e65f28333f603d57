"""One training step on one device or many: seeds over devices, or a batch over them.

A step here is `step(state, axis_name) -> (state, metrics)`; it knows no GAN.

Dimension key: S seeds, T steps, B batch, D devices.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from veegan_jax.common import errors

BATCH_AXIS = "batch"
SEED_AXIS = "seeds"
MODES = ("none", "jit", "pmap")

Step = Callable[..., tuple[Any, Any]]


def mean(tree: Any, axis_name: str | None) -> Any:
    """Averages a tree over a mapped axis; without one, returns it as it is."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def check(
    mode: str, batch_size: int, num_devices: int, flag: str = "batch_size"
) -> None:
    """Refuses a mode that does not exist and a batch that cannot be split.

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
) -> Callable[..., tuple[Any, Any]]:
    """Compiles `num_steps` steps of all seeds into one program.

    Args:
      step: a pure step. Its state is a dataclass with an integer field `step`.
      num_steps: T, the steps per call.
      mode: "none": each device runs whole batches of its share of the seeds;
        "jit": every batch is split over the devices, by NamedSharding and the
        compiler; "pmap": the same by jax.pmap, the step calling pmean itself.
      devices: what to run on.
      data: arrays that every step reads, copied to each device once; the step then
        takes them as its first argument.
      streamed: each step has a batch of its own, which it takes as its last argument.

    Returns:
      A function of the state of all seeds, leaves [S, ...]. It returns the new state
      and the metrics, leaves [S, T]. A seed whose metrics or parameters became
      non-finite keeps the state it had, its step count telling so. If `streamed`, its
      second argument are the batches, leaves [T, B, ...], placed by `placer`.
    """

    devices = list(devices)

    def one_seed(state, data, batches, axis_name=None):
        bound = step if data is None else functools.partial(step, data)

        def body(carry, batch):
            return bound(carry, axis_name, *([batch] if streamed else []))

        new, metrics = jax.lax.scan(body, state, batches, length=num_steps)
        ok = _all_finite(metrics) & _all_finite(new)
        return jax.tree.map(functools.partial(choose, ok), new, state), metrics

    mesh = jax.sharding.Mesh(np.asarray(devices), (BATCH_AXIS,))
    everywhere = NamedSharding(mesh, P())
    if mode == "pmap":
        run = functools.partial(one_seed, axis_name=BATCH_AXIS)
        mapped = jax.pmap(
            lambda state, data, batches, _: jax.vmap(run, (0, None, None))(
                state, data, batches
            ),
            BATCH_AXIS,
            in_axes=(None, None, 0, 0),
            out_axes=None,
            devices=devices,
        )
        # pmap wants one argument with a device axis; a state placed as it leaves
        # pmap is not compiled for again.
        axis = np.zeros(len(devices))
        data = jax.device_put(data, everywhere)
        return lambda state, batches=None: mapped(
            jax.device_put(state, everywhere), data, batches, axis
        )
    if mode == "jit":
        run = jax.jit(jax.vmap(one_seed, (0, None, None)), out_shardings=everywhere)
        data = jax.device_put(data, everywhere)

        def run_in_mesh(state, batches=None):
            with jax.set_mesh(mesh):
                return run(jax.device_put(state, everywhere), data, batches)

        return run_in_mesh
    return _over_devices(jax.vmap(one_seed, (0, None, None)), devices, data)


def placer(
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
    devices = list(devices)
    if mode == "none":
        mesh = jax.sharding.Mesh(np.asarray(_used(devices, seeds)), (SEED_AXIS,))
        return functools.partial(jax.device_put, device=NamedSharding(mesh, P()))
    mesh = jax.sharding.Mesh(np.asarray(devices), (BATCH_AXIS,))
    if mode == "jit":
        rows = NamedSharding(mesh, P(None, BATCH_AXIS))
        return functools.partial(jax.device_put, device=rows)

    def by_device(array_TB):  # pmap wants [D, T, B / D, ...]
        steps, batch, *rest = array_TB.shape
        shape = steps, len(devices), batch // len(devices), *rest
        return np.ascontiguousarray(array_TB.reshape(shape).swapaxes(0, 1))

    first = NamedSharding(mesh, P(BATCH_AXIS))
    return lambda batches: jax.device_put(jax.tree.map(by_device, batches), first)


def _used(devices: list[jax.Device], seeds: int) -> list[jax.Device]:
    """Those that get a share of the seeds."""
    share = -(-seeds // len(devices))
    return devices[: -(-seeds // share)]


def _over_devices(
    run: Callable[[Any, Any, Any], Any], devices: list[jax.Device], data: Any
) -> Callable[..., Any]:
    """Gives each device an equal share of the seeds, repeating the last as padding.

    Shares are cut and joined outside the compiled program: inside, they would be
    collectives, and a device kept waiting for 40 s at one aborts the process.
    """
    compiled: dict[int, Callable[[Any, Any, Any], Any]] = {}
    copies: dict[int, Any] = {}  # of the data, by number of seeds

    # One program for all arrays: sharding an array by device_put queues one for each
    # of its pieces, hundreds in all, and XLA's CPU client has been seen to hang there.
    @jax.jit
    def cut(tree, index):
        return jax.tree.map(lambda a: a[index], tree)

    @functools.partial(jax.jit, static_argnames="seeds")
    def join(parts, seeds):
        return jax.tree.map(lambda *a: jnp.concatenate(a)[:seeds], *parts)

    def run_shares(state, batches=None):
        seeds = len(jax.tree.leaves(state)[0])
        used = _used(devices, seeds)
        share = -(-seeds // len(used))
        mesh = jax.sharding.Mesh(np.asarray(used), (SEED_AXIS,))
        if seeds not in compiled:
            # check_vma=False: nothing crosses devices, so no rule is needed.
            compiled[seeds] = jax.jit(
                jax.shard_map(
                    run,
                    mesh=mesh,
                    in_specs=(P(SEED_AXIS), P(), P()),
                    out_specs=P(SEED_AXIS),
                    check_vma=False,
                )
            )
            copies[seeds] = jax.device_put(data, NamedSharding(mesh, P()))
        state = jax.device_put(state, used[0])
        index = np.minimum(np.arange(share * len(used)), seeds - 1)
        shares = [
            jax.device_put(cut(state, part), device)
            for part, device in zip(np.split(index, len(used)), used, strict=True)
        ]
        sharding = NamedSharding(mesh, P(SEED_AXIS))
        padded = jax.tree.map(
            lambda *a: jax.make_array_from_single_device_arrays(
                (len(index), *a[0].shape[1:]), sharding, list(a)
            ),
            *shares,
        )
        result = compiled[seeds](padded, copies[seeds], batches)
        parts = [
            jax.tree.map(lambda a, i=i: a.addressable_shards[i].data, result)
            for i in range(len(used))
        ]
        return join(jax.device_put(parts, used[0]), seeds)

    return run_shares


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


def shard_rows(x: jax.Array) -> jax.Array:
    """Splits the rows of x over the mesh of `jit` mode; elsewhere returns x."""
    mesh = jax.sharding.get_abstract_mesh()
    types = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    if types.get(BATCH_AXIS) == jax.sharding.AxisType.Auto:  # under pmap: Manual
        return jax.lax.with_sharding_constraint(x, P(BATCH_AXIS))
    return x


def _all_finite(tree: Any) -> jax.Array:
    leaves = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(a)) for a in leaves]))


def cpu_cores() -> int:
    """How many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # a cluster's share; not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_cpu_cores(num: int) -> None:
    """Makes each CPU core a device of its own, if no accelerator takes their place.

    Small matrices do not split over cores (batch 500 x 128: no gain from the second);
    whole seeds do. Call before the first JAX computation.

    Args:
      num: how many devices; seeds spread over them.
    """
    flag = "xla_force_host_platform_device_count"  # the older way to say the same
    if flag not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", num)
