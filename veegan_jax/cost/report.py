"""Report what a compiled program costs: communication, arithmetic, memory.

Nothing runs. All numbers are per device, for the program that XLA compiled on this
machine; another backend may merge or split collectives differently.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import jax

from veegan_jax.cost import flops, hlo

RESHARDING = ("all-gather", "all-to-all", "collective-permute", "reduce-scatter")
OPERATIONS = ("all-reduce", *RESHARDING)

_LIBRARY = re.compile(r" convolution\(|__(?:cublas|cudnn|onednn)")


@dataclasses.dataclass(frozen=True)
class Collective:
    """One exchange between devices."""

    operation: str  # one of OPERATIONS
    participants: int  # devices that take part together
    bytes: int  # of all operands on one device
    loops: tuple[int | None, ...]  # see `hlo.Instruction`
    source: str  # the name of the operation in JAX


@dataclasses.dataclass(frozen=True)
class Program:
    """The costs that `describe` finds, per device; memory in bytes."""

    devices: int
    flops: int  # of one step
    arguments: int
    results: int
    temporaries: int
    donated: int  # results that reuse the memory of arguments
    kernels: int  # an upper bound inside kernels of CPU libraries, unknown to XLA
    collectives: tuple[Collective, ...]

    @property
    def memory(self) -> int:
        """The memory that XLA planned for the program."""
        return self.arguments + self.results + self.temporaries - self.donated

    def summary(self, num_steps: int = 1, parameters: int | None = None) -> str:
        """Return the costs as text, one a line.

        Args:
          num_steps: how many steps the program takes, in one loop.
          parameters: number of trained parameters; None leaves the line out.
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
    """Compile a program, without running it, and return what it costs.

    FLOPs count matrix products and convolutions (`flops.of_products`). The body of a
    loop counts once, so a scan of steps has the FLOPs of one step. Under jit, where the
    program is written for all devices, an even split over them is assumed.

    Memory is what XLA planned for this one program. State and resident data are
    arguments (an array that two programs use counts in both), activations are
    temporaries. It leaves out: memory inside kernels of CPU libraries (`kernels` is a
    bound), constants and machine code, arrays that other programs or Python hold,
    buffers of the communication library, fragmentation, and the share of a GPU that its
    driver takes.

    Args:
      program: a jitted function, or the result of its `lower`.
      *arguments: of the function; `jax.ShapeDtypeStruct`s suffice. None if lowered.

    Raises:
      ValueError: if this backend does not report the memory of a program.
    """
    lowered = program
    if not isinstance(program, jax.stages.Lowered):
        lowered = program.lower(*arguments)
    source, compiled = lowered.as_text(), lowered.compile()
    memory = compiled.memory_analysis()
    if memory is None:
        raise ValueError(f"{jax.default_backend()} does not report a program's memory")
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


def summarize(
    name: str, lowered: jax.stages.Lowered, params: Any, *, mode: str, num_steps: int
) -> str:
    """Return the text that `--dry_run` prints for one run.

    Args:
      name: the run's.
      lowered: its program, from `parallel.run_steps(..., lower_only=True)`.
      params: parameters of all members, leaves [members, ...].
      mode: see `parallel.run_steps`.
      num_steps: steps of the program.
    """
    leaves = jax.tree.leaves(params)
    members, devices = len(leaves[0]), jax.device_count()
    title = (
        f"{name}: {members} member{'s' * (members > 1)}, --parallel={mode}, {devices} "
        f"device{'s' * (devices > 1)}, a program of {num_steps} step"
        f"{'s' * (num_steps > 1)}"
    )
    count = sum(leaf.size for leaf in leaves) // members
    costs = describe(lowered).summary(num_steps, count)
    return "\n".join([title, *(f"  {line}" for line in costs.splitlines())])


def collectives(text: str) -> list[Collective]:
    """List the exchanges between devices in an optimized program.

    An asynchronous exchange counts where it starts. Exchanges that XLA combined are
    one, with the bytes of all operands. Exchanges of a device with itself are left out,
    since they cost nothing.

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
    """Count the exchanges of a step: operation -> (number, bytes in all).

    Args:
      found: from `collectives`.
      num_steps: see `hlo.times`. Exchanges outside the loop are left out.
    """
    totals: dict[str, tuple[int, int]] = {}
    for one in found:
        times = hlo.times(one.loops, num_steps)
        if times:
            count, moved = totals.get(one.operation, (0, 0))
            totals[one.operation] = count + times, moved + times * one.bytes
    return totals


def products(text: str, num_steps: int) -> int:
    """Count the FLOPs of matrix products in one step of an optimized program.

    The count is per device. Unlike `flops.of_products` it sees how the compiler split
    products over devices, but it misses products with a vector, which XLA writes as
    sums.

    Args:
      text: `compiled.as_text()` on a CPU; other backends call libraries instead.
      num_steps: see `hlo.times`.

    Raises:
      ValueError: if there are convolutions or calls of libraries, which cannot be
        counted here.
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
