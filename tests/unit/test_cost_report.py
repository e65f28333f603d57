"""Programs whose collectives, products and memory are known in closed form.

One file, since its tests share the helpers that compile a program.

Dimension key: D devices, T steps, N rows.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from veegan_jax.cost import flops, hlo
from veegan_jax.cost import report as cost_report

D, T = 4, 7
F32 = 4  # bytes


def mesh(*shape: int) -> jax.sharding.Mesh:
    names = ("rows", "columns")[: len(shape)]
    devices = np.asarray(jax.devices()[: np.prod(shape)]).reshape(shape)
    return jax.sharding.Mesh(devices, names)


def text_of(function, *arguments) -> str:
    function = function if hasattr(function, "lower") else jax.jit(function)
    return function.lower(*arguments).compile().as_text()


def mapped(function, shape=(D,)):
    return jax.jit(
        jax.shard_map(
            function,
            mesh=mesh(*shape),
            in_specs=P("rows"),
            out_specs=P("rows"),
            check_vma=False,
        )
    )


def steps(body, num_steps=T):
    """A function that applies `body` so many times, in a loop."""
    return lambda x: jax.lax.scan(lambda c, _: (body(c), None), x, length=num_steps)[0]


def halved_sum(x):
    return 0.5 * jax.lax.psum(x, "rows")


X = np.ones((D, 3, 5), np.float32)


@pytest.mark.parametrize("by_pmap", [True, False])
def test_a_psum_in_a_loop_is_one_all_reduce_a_step(by_pmap):
    function = steps(halved_sum)
    if by_pmap:
        function = jax.pmap(function, "rows", devices=jax.devices()[:D])
    else:
        function = mapped(function)
    (one,) = cost_report.collectives(text_of(function, X))
    assert (one.operation, one.participants) == ("all-reduce", D)
    assert (one.bytes, one.loops) == (3 * 5 * F32, (T,))
    assert "psum" in one.source
    assert cost_report.per_step([one], T) == {"all-reduce": (1, 3 * 5 * F32)}


def test_what_stands_outside_the_loop_is_not_the_steps():
    found = cost_report.collectives(
        text_of(mapped(lambda x: halved_sum(steps(halved_sum)(x))), X)
    )
    assert sorted(one.loops for one in found) == [(), (T,)]
    assert cost_report.per_step(found, T) == {"all-reduce": (1, 3 * 5 * F32)}
    assert cost_report.per_step(found, T + 1) == {}


def test_loops_within_a_step_multiply():
    inner = steps(halved_sum, 3)
    found = cost_report.collectives(text_of(mapped(steps(inner)), X))
    assert [one.loops for one in found] == [(T, 3)]
    assert cost_report.per_step(found, T) == {"all-reduce": (3, 3 * 3 * 5 * F32)}


def test_without_a_loop_the_program_is_the_step():
    found = cost_report.collectives(text_of(mapped(steps(halved_sum, 1)), X))
    assert cost_report.per_step(found, 1) == {"all-reduce": (1, 3 * 5 * F32)}


def test_a_combined_all_reduce_counts_once_with_all_its_bytes():
    def body(pair):
        a, b = jax.lax.psum(pair, "rows")
        return 0.5 * a, 0.5 * b

    def both(x):
        return steps(body)((x, x[:, :2, :2] + 1))

    (one,) = cost_report.collectives(text_of(mapped(both), X))
    assert one.bytes == (3 * 5 + 2 * 2) * F32


def test_only_the_devices_that_take_part_are_counted():
    function = mapped(lambda x: jax.lax.psum(x, "columns"), (2, 4))
    (one,) = cost_report.collectives(text_of(function, np.ones((2, 3), np.float32)))
    assert one.participants == 4
    groups = [[0, 1], [2, 3]]
    function = jax.pmap(
        lambda x: jax.lax.psum(x, "rows", axis_index_groups=groups),
        "rows",
        devices=jax.devices()[:D],
    )
    (one,) = cost_report.collectives(text_of(function, X))
    assert one.participants == 2


def test_one_device_exchanges_nothing():
    function = jax.pmap(halved_sum, "rows", devices=jax.devices()[:1])
    assert cost_report.collectives(text_of(function, X[:1])) == []


@pytest.mark.parametrize(
    ("function", "operation", "size"),
    [
        (lambda x: jax.lax.all_gather(x, "rows"), "all-gather", 8 * 3 * F32),
        (
            lambda x: jax.lax.ppermute(x, "rows", [(i, (i + 1) % D) for i in range(D)]),
            "collective-permute",
            8 * 3 * F32,
        ),
        (
            lambda x: jax.lax.all_to_all(x, "rows", 0, 1, tiled=True),
            "all-to-all",
            8 * 3 * F32,
        ),
        (
            lambda x: jax.lax.psum_scatter(x, "rows", tiled=True),
            "reduce-scatter",
            8 * 3 * F32,
        ),
    ],
)
def test_every_operation_is_found(function, operation, size):
    (one,) = cost_report.collectives(
        text_of(mapped(function), np.ones((D * 8, 3), np.float32))
    )
    assert (one.operation, one.participants, one.bytes) == (operation, D, size)


@pytest.mark.parametrize(
    ("to", "operations"), [(P(), {"all-gather"}), (P(None, "rows"), {"all-to-all"})]
)
def test_resharding_by_the_compiler_is_found(to, operations):
    place = functools.partial(NamedSharding, mesh(D))
    array = jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=place(P("rows")))
    function = jax.jit(lambda x: x + 1, out_shardings=place(to))
    found = cost_report.collectives(text_of(function, array))
    assert {one.operation for one in found} == operations <= set(cost_report.RESHARDING)
    assert found[0].bytes == 2 * 8 * F32


WRITTEN = """\
HloModule made_up, is_scheduled=true, num_partitions=8

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%scattered (p.1: bf16[8,2]) -> bf16[1,2] {
  %p.1 = bf16[8,2]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %rs = bf16[1,2]{1,0} reduce-scatter(%p.1), replica_groups={}, to_apply=%add
}

%body (c: (s32[], f32[4])) -> (s32[], f32[4]) {
  %c = (s32[], f32[4]{0}) parameter(0)
  %x = f32[4]{0:T(128)S(1)} get-tuple-element(%c), index=1
  %start = f32[4]{0} all-reduce-start(%x), replica_groups=[2,4]<=[8], to_apply=%add
  %done = f32[4]{0} all-reduce-done(%start)
  ROOT %out = (s32[], f32[4]{0}) tuple(%x, %done)
}

ENTRY %main (q: bf16[8,2], r: (s32[], f32[4])) -> (s32[], f32[4]) {
  %q = bf16[8,2]{1,0} parameter(0)
  %r = (s32[], f32[4]{0}) parameter(1)
  %as = ((bf16[8,2]), bf16[1,2], u32[]) async-start(%q), calls=%scattered
  %ad = bf16[1,2]{1,0} async-done(%as), calls=%scattered
  ROOT %w = (s32[], f32[4]{0}) while(%r), condition=%add, body=%body
}
"""


def test_asynchronous_forms_count_where_they_start():
    scatter, reduce = cost_report.collectives(WRITTEN)
    assert (scatter.operation, scatter.participants) == ("reduce-scatter", 8)
    assert scatter.bytes == 8 * 2 * 2
    assert (reduce.operation, reduce.participants) == ("all-reduce", 4)
    assert (reduce.bytes, reduce.loops) == (4 * F32, (None,))
    with pytest.raises(ValueError, match="does not tell its trip count"):
        cost_report.per_step([reduce], 1)


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("replica_groups={{0,1,2,3}}, use_global_device_ids=true", 4),
        ("replica_groups={{0,2},{1,3}}", 2),
        ("replica_groups={}", 16),
        ("channel_id=1", 16),
        ("replica_groups=[2,8]<=[16]", 8),
        ("replica_groups=[8,2]<=[2,8]T(1,0), dimensions={0}", 2),
        ("replica_groups=mesh['a'=2,'b'=8] {'b'}, dimensions={1}", 8),
        ("replica_groups=mesh['a'=2,'b'=8] {'a','b'}", 16),
        ("replica_groups=mesh['a'=2,'b'=8] {'b':(2)4}", 4),
        ("source_target_pairs={{0,1},{1,2}}", 3),
    ],
)
def test_groups_are_read_in_all_their_forms(groups, size):
    line = f"  %a = f32[4]{{0}} all-reduce(%x), {groups}, to_apply=%add"
    assert hlo.participants(line, 16) == size


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("f32[2,3]{1,0}", 24),
        ("bf16[5]{0}", 10),
        ("pred[]", 1),
        ("s4[3]{0}", 2),
        ("f8e4m3fn[7]", 7),
        ("c64[2]", 16),
        ("(f32[2]{0}, /*index=1*/s32[], token[])", 12),
    ],
)
def test_sizes_of_types(kind, size):
    assert hlo.size(kind) == size


def test_products_are_split_as_the_compiler_split_them():
    rows = NamedSharding(mesh(D), P("rows"))
    whole = NamedSharding(mesh(D), P())
    x = jax.ShapeDtypeStruct((8, 5), jnp.float32, sharding=rows)
    w = jax.ShapeDtypeStruct((5, 5), jnp.float32, sharding=whole)

    def run(x, w):
        return jax.lax.scan(lambda c, _: (c @ w, None), x, length=T)[0]

    work = 2 * 8 * 5 * 5
    assert cost_report.products(text_of(run, x, w), T) == work / D
    assert cost_report.describe(jax.jit(run), x, w).flops == work / D
    copied = jax.jit(run, in_shardings=(whole, whole))
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, w)]
    assert cost_report.products(text_of(copied, *shapes), T) == work


def test_products_hidden_in_other_operations_are_not_passed_over():
    with pytest.raises(ValueError, match="convolution"):
        cost_report.products("  %c = f32[2]{0} convolution(%a, %b), window={}", 1)


def test_memory_of_a_program_with_a_large_temporary():
    size = 300
    array = jax.ShapeDtypeStruct((size, size), jnp.float32)

    def grams(x_NN):
        return jnp.sum(jnp.sin(x_NN @ x_NN.T) @ x_NN)

    found = cost_report.describe(jax.jit(grams), array)
    whole = size * size * F32
    assert (found.devices, found.arguments, found.results) == (1, whole, F32)
    # From JAX 0.11 on a library computes all of it in one kernel.
    assert whole <= found.temporaries + found.kernels <= 4 * whole
    assert found.memory == found.arguments + found.results + found.temporaries
    assert found.flops == 2 * 2 * size**3
    assert found.collectives == ()
    lines = found.summary(parameters=1234567).splitlines()
    assert lines[0] == "parameters: 1,234,567 a member"
    assert lines[1] == "products: 0.108 GFLOP per step and device, 1 device"
    assert lines[2].startswith("memory per device: ")
    assert "= 0.3 arguments + 0.0 results" in lines[2]
    assert ("in library kernels" in lines[2]) == (found.kernels > 0)
    assert lines[3] == "communication per step: none"


def test_a_donated_argument_is_not_counted_twice():
    array = jax.ShapeDtypeStruct((1000,), jnp.float32)
    kept, given = (
        cost_report.describe(jax.jit(lambda x: x + 1, donate_argnums=d), array)
        for d in ((), 0)
    )
    assert (kept.donated, given.donated) == (0, 1000 * F32)
    assert kept.memory - given.memory == 1000 * F32


def test_a_mapped_program_is_described_per_device():
    weights = np.eye(5, dtype=np.float32)
    body = steps(lambda x: jax.lax.pmean(x @ weights, "rows"))
    function = jax.pmap(body, "rows", devices=jax.devices()[:D])
    found = cost_report.describe(function.lower(X))
    assert (found.devices, found.flops) == (D, 2 * 3 * 5 * 5)
    assert found.arguments == 3 * 5 * F32
    last = found.summary(T).splitlines()[-1]
    assert last == "communication per step: 1 all-reduce (5.72e-05 MiB)"


def products_of(function, *shapes, dtype=jnp.float32):
    """The arithmetic that flops.py counts, and that XLA counts."""
    arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    lowered = jax.jit(function).lower(*arrays)
    by_xla = lowered.compile().cost_analysis()["flops"]
    return flops.of_products(lowered.as_text()), by_xla


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        ((1, 1), "SAME", (1, 1), 1),
        ((2, 3), "SAME", (1, 1), 1),
        ((2, 2), "SAME", (1, 2), 1),
        ((2, 1), ((3, -1), (0, 2)), (1, 1), 2),
    ],
)
def test_flops_of_convolutions_and_their_gradients_are_xlas(
    stride, padding, dilation, groups
):
    x, kernel = (2, 9, 8, 6), (3, 5, 6 // groups, 4)

    def conv(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            stride,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    out = jax.eval_shape(
        conv, *(jax.ShapeDtypeStruct(s, "float32") for s in (x, kernel))
    )
    ours, by_xla = products_of(conv, x, kernel)
    assert ours == by_xla > 0
    for i in (0, 1):

        def pull(x, kernel, out, i=i):
            return jax.vjp(conv, x, kernel)[1](out)[i]

        ours, by_xla = products_of(pull, x, kernel, out.shape)
        assert ours == by_xla > 0


def test_flops_of_a_strided_convolution_equal_a_count_by_hand():
    rows, taps, stride, low = 9, 3, 2, 1

    def conv(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (stride,), ((low, 1),))

    outs = (rows + low + 1 - taps) // stride + 1
    met = sum(
        0 <= o * stride + k - low < rows
        for o, k in itertools.product(range(outs), range(taps))
    )
    ours, _ = products_of(conv, (2, 5, rows), (4, 5, taps))
    assert ours == 2 * 2 * 5 * 4 * met


def test_flops_count_every_float_and_no_integers():
    work = 2 * 3 * 4 * 5
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        assert products_of(jnp.dot, (3, 4), (4, 5), dtype=dtype)[0] == work
    assert products_of(jnp.dot, (3, 4), (4, 5), dtype=jnp.int32)[0] == 0
    assert products_of(jnp.dot, (4,), (4,))[0] == 2 * 4


def test_a_call_of_a_library_does_not_count():
    """As the eigenvectors of GDPP: `stablehlo.custom_call @lapack_...` has no body."""

    def product_and_vectors(x):
        return jnp.linalg.eigh(x @ x.T)

    text = jax.jit(product_and_vectors).lower(jnp.ones((3, 5))).as_text()
    assert "custom_call @" in text
    assert flops.of_products(text) == 2 * 3 * 5 * 3
