"""Read the text of an optimized program, as XLA prints it: `compiled.as_text()`."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterator

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$")
_CALLED = re.compile(
    r"(?:to_apply|calls|body|condition|true_computation|false_computation)"
    r"=%?([\w.-]+)|(?:branch_computations|called_computations)=\{([^}]*)\}"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_KERNEL = re.compile(r"__(?:ynn|xnn|onednn)_fusion")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\]")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program and the loops around it."""

    operation: str
    result: str  # type of the result
    operands: tuple[str, ...]  # types of the operands
    line: str
    loops: tuple[int | None, ...]  # trip counts, outermost first; None: not known


def instructions(text: str) -> Iterator[Instruction]:
    """Yield every instruction of a program, once for each place that calls it.

    Args:
      text: the whole module.
    """
    bodies, entry = _bodies(text)

    def walk(name: str, loops: tuple[int | None, ...]) -> Iterator[Instruction]:
        types, parsed = bodies(name)
        for result, operation, rest, line in parsed:
            yield Instruction(operation, result, _operands(rest, types), line, loops)
            if operation.endswith(("-done", "-update")):
                continue  # the matching start has been walked
            inner = loops
            if operation == "while":
                trips = _TRIPS.search(line)
                inner = *loops, int(trips[1]) if trips else None
            for one, several in _CALLED.findall(line):
                for called in [one] if one else re.findall(r"[\w.-]+", several):
                    yield from walk(called, inner)

    yield from walk(entry, ())


def times(loops: tuple[int | None, ...], num_steps: int) -> int:
    """Return how often a step performs an instruction; 0 if it is outside the steps.

    Args:
      loops: the instruction's; see `Instruction`.
      num_steps: trip count of the training loop, which is the outermost. If it is 1,
        XLA removes the loop and the whole program is the step.

    Raises:
      ValueError: if a loop inside the step does not tell its trip count.
    """
    if num_steps > 1:
        if loops[:1] != (num_steps,):
            return 0
        loops = loops[1:]
    if None in loops:
        raise ValueError("a loop inside the step does not tell its trip count")
    return math.prod(loops)


def shape(array: str) -> list[int]:
    """Return the shape in an array's type, such as f32[2,3]{1,0}."""
    found = _ARRAY.search(array)
    return [int(n) for n in re.findall(r"\d+", found[2])] if found else []


def size(array: str) -> int:
    """Return the bytes of a type; for a tuple, the sum."""
    total = 0
    for name, dims in _ARRAY.findall(array):
        bits = 8 if name == "pred" else int((re.search(r"\d+", name) or "0")[0])
        total += -(-bits * math.prod(int(n) for n in re.findall(r"\d+", dims)) // 8)
    return total


def kernel_bytes(text: str) -> int:
    """Bound the memory that CPU libraries allocate on their own, in bytes.

    XLA fuses chains of operations into one kernel of a library (YNN from JAX 0.11 on)
    and does not plan the memory inside a kernel. Kernels run one after another, so the
    largest kernel gives the bound: all its results but the last.

    Args:
      text: the whole module.
    """
    bodies, _ = _bodies(text)
    bounds = [0]
    for line in text.splitlines():
        called = re.search(r"calls=%?([\w.-]+)", line)
        if called and _KERNEL.search(line):
            bounds.append(
                sum(
                    size(result)
                    for result, operation, _, inner in bodies(called[1])[1]
                    if operation not in ("parameter", "constant")
                    and not inner.lstrip().startswith("ROOT")
                )
            )
    return max(bounds)


def num_devices(text: str) -> int:
    """Return how many devices run a program together."""
    head = text.partition("\n")[0]
    found = re.findall(r"(?:replica_count|num_partitions)=(\d+)", head)
    return math.prod(int(n) for n in found)


def participants(line: str, devices: int) -> int:
    """Return how many devices one group of a collective has.

    XLA prints groups as lists, {{0,1},{2,3}}; as a shape, [groups,size]<=[devices]; or
    as axes of a mesh, mesh['a'=2,'b'=2] {'b'}, where 'b':(1)2 is a part of an axis. An
    empty list means all devices.

    Args:
      line: the instruction.
      devices: how many the program has.
    """
    if pairs := re.search(r"source_target_pairs=\{((?:\{[\d,]*\},?)*)\}", line):
        return len(set(re.findall(r"\d+", pairs[1])))
    if mesh := re.search(r"replica_groups=\S*mesh\S*?\[(.*?)\]\S* \{(.*?)\}", line):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", mesh[1]))
        named = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", mesh[2])
        return math.prod(int(part or sizes[name]) for name, part in named)
    if table := re.search(r"replica_groups=\[\d+,(\d+)\]<=", line):
        return int(table[1])
    first = re.search(r"replica_groups=\{\{([\d,]+)\}", line)
    return len(first[1].split(",")) if first else devices


_Parsed = tuple[dict[str, str], list[tuple[str, str, str, str]]]


def _bodies(text: str) -> tuple[Callable[[str], _Parsed], str]:
    """Return a function from a computation's name to its body, and the entry's name."""
    lines: dict[str, list[str]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = lines.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif line == "}":
            current = None
        elif current is not None:
            current.append(line)

    @functools.cache
    def body(name: str) -> _Parsed:
        found = [(_INSTRUCTION.match(line), line) for line in lines[name]]
        parsed = [(*match.groups(), line) for match, line in found if match]
        return {name: kind for name, kind, *_ in parsed}, [rest for _, *rest in parsed]

    return body, entry


def _operands(rest: str, types: dict[str, str]) -> tuple[str, ...]:
    """Return the types of the operands in "%a, f32[2]{0} %b), attributes"."""
    depth, end = 1, len(rest)
    for place, letter in enumerate(rest):
        depth += (letter in "([{") - (letter in ")]}")
        if not depth:
            end = place
            break
    names = re.findall(r"%([\w.-]+)", rest[:end])
    return tuple(types[name] for name in names if name in types)
