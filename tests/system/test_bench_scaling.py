"""bench/scaling.py: what real steps send between devices; its estimate by hand."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scaling_estimate as estimate
import scaling_table
from support import programs

from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.cost import report as cost_report
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.presets import resolve
from veegan_jax.runtime import parallel

# Import the script, then remove its flags: other scripts use the same names.
_loading = programs.as_module("bench/scaling")
bench_scaling = next(_loading)
_loading.close()

# All-reduces in a step; the unrolled GAN updates D twice, and differentiates that.
METHODS = {"gan": 1, "ali": 1, "unrolled": 2 * 2 + 1, "veegan_plus": 1}


def tiny(method, **changes):
    parts = ("generator", "reconstructor", "discriminator")
    sizes = dict(batch_size=16, **{f"{part}_widths": (4,) for part in parts})
    if method == "unrolled":
        sizes["unrolled_steps"] = 2
    return resolve.resolve(method, "ring", "quick", **sizes | changes)


def zeros(config):
    """Make a state of one seed, without compiling its initialization."""
    init = functools.partial(methods.get(config.method).init, config=config)

    def zero(leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.key(0), 1)
        return jnp.zeros((1, *leaf.shape), leaf.dtype)

    return jax.tree.map(zero, jax.eval_shape(init, jax.random.key(0)))


@functools.cache
def count(config, mode, num_devices=4):
    return bench_scaling.count(config, zeros(config), mode, num_devices)


def moved(config):
    """Count the bytes of one all-reduce: gradients and losses."""
    state = zeros(config)
    step = functools.partial(
        mixture_experiment.step_on_fresh_data, axis_name=None, config=config
    )
    one = jax.tree.map(lambda leaf: leaf[0], state)
    metrics = jax.eval_shape(step, one)[1]
    learned = [
        leaf.size
        for path, leaf in jax.tree.leaves_with_path(one.params)
        if "frequencies" not in jax.tree_util.keystr(path)
    ]
    return 4 * (sum(learned) + len(metrics))


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_pmap_has_one_all_reduce_and_moves_no_rows(method):
    config = tiny(method)
    found = count(config, "pmap")
    ((times, size),) = found["operations"].values()
    assert list(found["operations"]) == ["all-reduce"]
    assert times == METHODS[method]
    if times == 1:
        assert size == moved(config)
    assert found["outside_the_loop"] == 0


def test_batch_norm_adds_one_all_reduce_a_layer_each_way():
    found = count(tiny("gan", batch_norm=True), "pmap")["operations"]
    assert {name: times for name, (times, _) in found.items()} == {"all-reduce": 3}


@pytest.mark.parametrize("method", ["gan", "veegan_plus"])
def test_a_step_of_jit_moves_no_rows(method):
    found = count(tiny(method), "jit")
    ((times, _),) = found["operations"].values()
    assert (list(found["operations"]), times) == (["all-reduce"], 1)


def test_both_modes_split_products_evenly():
    config = tiny("gan")
    by_pmap, by_jit = (count(config, mode) for mode in bench_scaling.MODES)
    assert by_pmap["flops"] == by_jit["flops"]
    # XLA writes products with a vector, as D's last, as sums.
    whole = bench_scaling.flops_per_example(config) * config.batch_size
    assert 0.8 < 4 * by_pmap["flops"] / whole <= 1


def test_a_lowered_program_is_one_devices_share_of_the_seeds():
    config = tiny("gan")
    states = jax.tree.map(lambda leaf: leaf[np.zeros(5, int)], zeros(config))
    step = functools.partial(mixture_experiment.step_on_fresh_data, config=config)
    run = parallel.run_steps(
        step, 3, mode="none", devices=jax.devices()[:4], lower_only=True
    )
    found = cost_report.describe(run(states))
    of_a_seed = bench_scaling.flops_per_example(config) * config.batch_size
    assert found.flops == 2 * of_a_seed
    assert (found.devices, found.collectives) == (1, ())


def test_flops_of_images_are_those_of_convolutions():
    """Here a dense layer, a transposed convolution, and D's convolution and sum."""
    sizes = dict(latent_size=6, batch_size=8, joint_widths=(), output_conv=False)
    sizes |= dict(generator_widths=(5,), discriminator_widths=(4,), kernel_size=3)
    config = resolve.resolve("gan", "stacked_digits", "paper", **sizes)
    # Of 8 rows, 4 windows of 3 meet 11 or 12: one side is padded.
    taps = sum(0 <= 2 * i + k < 8 for i in range(4) for k in range(3)) ** 2
    dense, transposed = 6 * 4 * 4 * 5, taps * 5 * 3
    down, last = taps * 3 * 4, 4 * 4 * 4
    forward = dense + transposed + 2 * (down + last)
    of_d = 2 * (down + last) + 2 * last  # kernels; inputs, not the first layer's
    of_g = last + down + 2 * transposed + dense  # through D; G's z needs none
    assert bench_scaling.flops_per_example(config) == 2 * (forward + of_d + of_g)


def row(*operations, batch_norm=False):
    """Make a row as `measure` does, of 1, 2, ... devices."""
    made = [
        {"devices": i + 1, "batch_size": 8, "flops": 8e6 / (i + 1), "operations": found}
        for i, found in enumerate(({}, *operations))
    ]
    return {
        "case": "some",
        "mode": "pmap",
        "batch_size": 8,
        "batch_norm": batch_norm,
        "flops_per_example": 1e6,
        "strong": made,
        "weak": made[:1],
    }


@pytest.mark.parametrize(
    ("operations", "batch_norm", "verdict"),
    [
        ([{"all-reduce": (1, 8)}], False, "yes"),
        ([{"all-reduce": (3, 8)}], True, "but for BatchNorm"),
        ([{"all-reduce": (3, 8)}], False, "no: several all-reduces"),
        ([{"all-reduce": (1, 8)}, {"all-reduce": (2, 8)}], False, "no: several"),
        ([{"all-reduce": (1, 8), "all-gather": (2, 8)}], False, "no: all-gather"),
        ([{}], False, "no: nothing is reduced"),
        ([], False, "one device"),
    ],
)
def test_the_verdict(operations, batch_norm, verdict):
    found = scaling_table.verdict(row(*operations, batch_norm=batch_norm))
    assert found.startswith(verdict)


def test_the_table_shows_what_differs_between_devices():
    text = scaling_table.table(
        [
            row(
                {"all-reduce": (1, 2**20)},
                {"all-reduce": (1, 2**20), "all-gather": (4, 1)},
            )
        ]
    )
    cells = [cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]]
    assert cells[:6] == ["some", "pmap", "8", "1", "1", "0, 4"]
    assert cells[6:] == ["8, 4, 2.667", "8", "no: all-gather"]


def test_an_exchange_by_hand():
    v5e, _, h100 = estimate.CHIPS.values()
    hops, moved = estimate.exchange(v5e, 3, 1e9)
    assert hops == pytest.approx(3 * 32e-6)
    assert moved == pytest.approx(2 * 255 / 256 * 1e9 / 200e9)
    hops, moved = estimate.exchange(h100, 1, 8e9)
    assert hops == pytest.approx(80e-6)
    within, between = 2 * 7 / 8 * 8e9 / 450e9, 2 * 31 / 32 * 1e9 / 50e9
    assert moved == pytest.approx(within + between)


def test_the_estimated_batches_give_the_efficiencies_they_are_named_for():
    for chip in estimate.CHIPS.values():
        found = estimate.estimate(row({"all-reduce": (2, 5e6)}), chip, 0.4)
        lost = found["hop_seconds"] + found["byte_seconds"]
        for name, share in (("batch_for_half", 0.5), ("batch_for_nine_tenths", 0.9)):
            compute = found[name] * 1e6 / (0.4 * chip.peak)
            assert compute / (compute + lost) == pytest.approx(share)
        assert found["seconds_per_example"] == pytest.approx(1e6 / (0.4 * chip.peak))
        compute = 8 * found["seconds_per_example"]
        assert found["weak_efficiency"] == pytest.approx(compute / (compute + lost))
        rate = 256 * 8 / (compute + lost)
        assert found["examples_per_second"] == pytest.approx(rate)


def test_chips_are_256():
    for name, chip in estimate.CHIPS.items():
        sizes = [n for n, *_ in chip.levels]
        assert functools.reduce(lambda a, b: a * b, sizes) == 256, name


def test_a_batch_that_does_not_divide_is_refused():
    config = tiny("gan", batch_size=6)
    with pytest.raises(errors.InputError, match="batch_size=6"):
        bench_scaling.lower(config, zeros(config), "pmap", 4)


def test_the_script_writes_a_record_and_prints_both_tables(scripts, tmp_path):
    path = tmp_path / "made" / "record.json"
    arguments = ["--cases=ring-gan", "--modes=pmap", "--devices=2", f"--output={path}"]
    done = scripts.run("bench/scaling.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text())
    (made,) = record["rows"]
    assert record["chips"].keys() == made["estimates"].keys() == estimate.CHIPS.keys()
    assert "commit" in record
    assert made["strong"][0]["batch_size"] * 2 == made["weak"][0]["batch_size"]
    assert made["strong"][0]["flops"] * 2 == made["weak"][0]["flops"]
    assert "| ring-gan | pmap" in done.stdout
    assert "compute  = b F / (efficiency * peak)" in done.stdout
    assert done.stdout.count("| ring-gan | TPU v5e, 16 x 16") == 1


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--cases=none", "--cases: unknown 'none'; any of ring-gan"),
        ("--devices=0", "--devices=0 must be in [1, 64]"),
        ("--efficiency=0", "--efficiency=0.0 must be in (0, 1]"),
    ],
)
def test_bad_flags_are_named(scripts, argument, message, tmp_path):
    done = scripts.run("bench/scaling.py", argument, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
