"""What a compiled program costs: communication, arithmetic, memory. Runs nothing.

All figures are those of one device, of the program that XLA made for the machine at
hand: another backend may merge or split collectives otherwise.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from veegan_jax.cost import flops, hlo

RESHARDING = ("all-gather", "all-to-all", "collective-permute", "reduce-scatter")
OPERATIONS = ("all-reduce", *RESHARDING)

_LIBRARY = re.compile(r" convolution\(|__(?:cublas|cudnn|onednn)")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between devices."""

    operation: str  # one of OPERATIONS
    participants: int  # devices that take part together
    bytes: int  # of one device's operands, all of a combined one's together
    loops: tuple[int | None, ...]  # see `hlo.Instruction`
    source: str  # what it was in JAX, by JAX's names


@dataclasses.dataclass(frozen=True)
class Program:
    """What `describe` finds; all per device, memory in bytes."""

    devices: int
    flops: int  # of one step
    arguments: int
    results: int
    temporaries: int
    donated: int  # results that lie where arguments were
    kernels: int  # at most, inside kernels of CPU libraries; XLA does not plan it
    collectives: tuple[Collective, ...]

    @property
    def memory(self) -> int:
        """What XLA planned for the program, all at once."""
        return self.arguments + self.results + self.temporaries - self.donated

    def words(self, num_steps: int = 1, parameters: int | None = None) -> str:
        """The figures as text, a line each.

        Args:
          num_steps: how many steps the program takes, in one loop.
          parameters: how many are learned; None leaves the line out.
        """
        lines = [] if parameters is None else [f"parameters: {parameters:,} a member"]
        lines.append(
            f"products: {self.flops / 1e9:.4g} GFLOP per step and device, "
            f"{self.devices} device{'s' if self.devices > 1 else ''}"
        )
        names = ("memory", "arguments", "results", "temporaries", "donated")
        mib = {name: getattr(self, name) / 2**20 for name in names}
        lines.append(
            "memory per device: {memory:.1f} MiB = {arguments:.1f} arguments + "
            "{results:.1f} results + {temporaries:.1f} temporaries - {donated:.1f} "
            "donated".format(**mib)
        )
        if self.kernels:
            lines[-1] += f", and up to {self.kernels / 2**20:.1f} in library kernels"
        totals = per_step(self.collectives, num_steps)
        found = ", ".join(
            f"{count} {name} ({moved / 2**20:.3g} MiB)"
            for name, (count, moved) in totals.items()
        )
        lines.append(f"communication per step: {found or 'none'}")
        return "\n".join(lines)


def describe(program: Any, *arguments: Any) -> Program:
    """Compile a program, without running it, and say what it costs.

    FLOPs are those of `flops.of_products`: matrix products and convolutions, the body
    of a loop counted once, which makes them one step's for a scan of steps. Where the
    program is written for all devices (jit) an even split over them is assumed.

    Memory is what XLA planned for this one program: state and resident data are
    arguments (an array that two programs use counts in both), activations are
    temporaries. Not in it: what kernels of CPU libraries allocate, of which `kernels`
    is a bound, constants and machine code, arrays that other programs or Python hold
    meanwhile, buffers of the communication library, what an allocator loses between
    blocks, and the share of a GPU that its driver takes.

    Args:
      program: a jitted function, or what its `lower` returned.
      *arguments: the function's; `jax.ShapeDtypeStruct`s will do. None if lowered.

    Raises:
      ValueError: if this backend does not tell the memory of a program.
    """
    lowered = program
    if not isinstance(program, jax.stages.Lowered):
        lowered = program.lower(*arguments)
    source, compiled = lowered.as_text(), lowered.compile()
    memory = compiled.memory_analysis()
    if memory is None:
        raise ValueError(f"{jax.default_backend()} does not tell a program's memory")
    text = compiled.as_text()
    devices = hlo.num_devices(text)
    by_hand = "sdy.manual_computation" in source  # shard_map, and pmap by it
    return Program(
        devices=devices,
        flops=flops.of_products(source) // (1 if by_hand else devices),
        arguments=memory.argument_size_in_bytes,
        results=memory.output_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        donated=memory.alias_size_in_bytes,
        kernels=hlo.kernel_bytes(text),
        collectives=tuple(collectives(text)),
    )


def zeros(shapes: Any) -> Any:
    """Arrays of these shapes and types, to lower a program with; keys as well."""

    def one(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(jnp.zeros((*leaf.shape, 2), jnp.uint32))
        return jnp.zeros(leaf.shape, leaf.dtype)

    return jax.tree.map(one, shapes)


def summarize(
    name: str, lowered: jax.stages.Lowered, params: Any, *, mode: str, num_steps: int
) -> str:
    """What `--dry_run` prints of one run.

    Args:
      name: of the run.
      lowered: what `parallel.run_steps(..., lower_only=True)` made of it.
      params: parameters of all members, leaves [members, ...].
      mode: see `parallel.run_steps`.
      num_steps: of the program.
    """
    leaves = jax.tree.leaves(params)
    members, devices = len(leaves[0]), jax.device_count()
    title = (
        f"{name}: {members} member{'s' * (members > 1)}, --parallel={mode}, {devices} "
        f"device{'s' * (devices > 1)}, a program of {num_steps} step"
        f"{'s' * (num_steps > 1)}"
    )
    count = sum(leaf.size for leaf in leaves) // members
    words = describe(lowered).words(num_steps, count)
    return "\n".join([title, *(f"  {line}" for line in words.splitlines())])


def collectives(text: str) -> list[Collective]:
    """Every exchange between devices in an optimized program.

    An asynchronous one counts where it starts. One that a combiner made of several is
    one, its bytes those of all operands. Exchanges of a device with itself are left
    out: they cost nothing.

    Args:
      text: `compiled.as_text()`.
    """
    devices = hlo.num_devices(text)
    found = []
    for one in hlo.instructions(text):
        operation = one.operation.removesuffix("-start")
        if operation not in OPERATIONS:
            continue
        name = re.search(r'op_name="([^"]*)"', one.line)
        found.append(
            Collective(
                operation,
                hlo.participants(one.line, devices),
                sum(map(hlo.size, one.operands)),
                one.loops,
                name[1] if name else "",
            )
        )
    return [one for one in found if one.participants > 1]


def per_step(found: Sequence[Collective], num_steps: int) -> dict[str, tuple[int, int]]:
    """How often a step performs each operation, and with how many bytes in all.

    Args:
      found: what `collectives` returned.
      num_steps: see `hlo.times`. What is outside the loop is left out.
    """
    totals: dict[str, tuple[int, int]] = {}
    for one in found:
        times = hlo.times(one.loops, num_steps)
        if times:
            count, moved = totals.get(one.operation, (0, 0))
            totals[one.operation] = count + times, moved + times * one.bytes
    return totals


def products(text: str, num_steps: int) -> int:
    """FLOPs of the matrix products in one step of an optimized program, per device.

    Unlike `flops.of_products` it sees how the compiler split them over devices, but
    misses products with a vector, which XLA writes as sums.

    Args:
      text: `compiled.as_text()`, from the CPU: elsewhere products are calls of
        libraries.
      num_steps: see `hlo.times`.

    Raises:
      ValueError: if there are convolutions or calls of libraries, not counted here.
    """
    if hidden := _LIBRARY.search(text):
        raise ValueError(f"{hidden[0].strip()!r} is not counted")
    total = 0
    for one in hlo.instructions(text):
        if one.operation == "dot":
            left = hlo.shape(one.operands[0])
            dims = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.line)
            contracted = (
                [left[int(i)] for i in re.findall(r"\d+", dims[1])] if dims else []
            )
            work = 2 * math.prod(contracted) * math.prod(hlo.shape(one.result))
            total += work * hlo.times(one.loops, num_steps)
    return total
