"""Turns, rows, precisions, convolutions and table cells, shared by the benches."""

import jax
import jax.numpy as jnp
import precisions
import pytest
import summaries
import timing
from support import programs
from tables import rivals

from veegan_jax.common import errors
from veegan_jax.networks import conv
from veegan_jax.presets import resolve


def test_a_hopeless_rival_leaves_after_two_turns(monkeypatch):
    speeds = {"ours": 1.0, "fast": 100.0, "near": 71.0, "slow": 69.0}
    monkeypatch.setattr(timing, "rate", lambda runner, _: speeds[runner])
    runners = {name: name for name in speeds}
    found = timing.rates(runners, 4, 0.0, rivals=("fast", "near", "slow"))
    assert {name: len(turns) for name, turns in found.items()} == {
        **{"ours": 4, "fast": 4, "near": 4, "slow": 2},
    }
    assert timing.fastest({n: found[n] for n in ("fast", "near", "slow")}) == "fast"
    # Without rivals, nobody leaves.
    assert {len(turns) for turns in timing.rates(runners, 3, 0.0).values()} == {3}


def test_rows_compare_with_the_other_forms():
    rates = {1: [10.0, 20.0], 5: [40.0, 80.0], "flax": [5.0, 5.0]}
    one, five = summaries.rows({"method": "gan"}, rates, [1, 5])
    assert one["against"] == {"flax": {"ratio": 3.0, "ratio_range": [2.0, 4.0]}}
    assert five["against"]["one after the other"]["ratio"] == 4.0
    assert five["against"]["flax"]["ratio_range"] == [8.0, 16.0]
    assert five["jax_steps_per_second_by_form"] == {"flax": [5.0, 5.0]}
    assert "against" not in summaries.rows({}, {1: [1.0]}, [1])[0]


@pytest.mark.parametrize(("precision", "tf32"), [("highest", False), ("high", True)])
def test_pytorchs_convolutions_have_the_precision_too(precision, tf32):
    torch = pytest.importorskip("torch")

    def state():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = state()
    with precisions.torch_products(precision):
        assert state() == (precision, tf32)
    assert state() == before


@pytest.mark.parametrize("given", [["tf32"], ["float32", "bfloat16"]])
def test_a_cpu_has_one_precision(given):
    with pytest.raises(errors.InputError, match=f"--precision={given[-1]}: CPUs mul"):
        precisions.chosen(given, tiny=False)
    assert precisions.chosen(given, tiny=True) == given
    assert precisions.chosen([], tiny=False) == ["float32"]
    with pytest.raises(errors.InputError, match="--precision: unknown 'f8'; any of f"):
        precisions.chosen(["f8"], tiny=True)


@pytest.mark.parametrize(
    ("method", "dataset", "precision", "expected"),
    [
        ("gan", "ring", "float32", "DEFAULT"),  # on CPU as in training
        ("gan", "ring", "tf32", "HIGH"),
        ("gan", "ring", "bfloat16", "bf16"),
        ("gan", "stacked_mnist", "tf32", "HIGH"),
        ("gan", "stacked_mnist", "bfloat16", "DEFAULT"),
    ],
)
def test_products_have_the_precision(method, dataset, precision, expected, monkeypatch):
    if expected == "bf16":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    preset = "quick" if dataset == "ring" else "quarter"
    config = resolve.resolve(method, dataset, preset)
    a = jnp.ones((2, 2))
    with precisions.products(config, precision):
        text = jax.jit(lambda a: a @ a).lower(a).as_text()
    assert expected in text or (expected == "DEFAULT" and "precision" not in text)
    inner = precisions.config_in(config, precision)
    is_bfloat16 = dataset != "ring" and precision == "bfloat16"
    assert inner.networks == (
        config.replace(dtype="bfloat16").networks if is_bfloat16 else config.networks
    )


@pytest.fixture
def images_bench():
    yield from programs.as_module("bench/images")


def test_the_other_convolutions_are_xlas_on_a_cpu(images_bench):
    def text():
        x, kernel = jnp.ones((1, 4, 4, 20)), jnp.ones((3, 3, 20, 20))
        return str(jax.make_jaxpr(lambda x, k: conv.conv(x, k, 2))(x, kernel))

    assert "conv_general_dilated" not in text()
    with images_bench.other_convolutions():
        assert "conv_general_dilated" in text()
    assert "conv_general_dilated" not in text()


def test_cells_of_rivals():
    rows = [
        {"method": "gan", "torch_compile": "compiled and checked in 9 s"},
        {"method": "ali", "torch_compile": "unavailable: A: b"},
        {"method": "unrolled", "torch_compile": "unavailable: A: b"},
        {"method": "veegan", "against": {"flax": {"ratio": 2.345}}},
    ]
    assert rivals.names(rows) == ["flax"]
    assert rivals.over(rows[0], ["flax"]) == [""]
    assert rivals.over(rows[3], ["flax"]) == ["2.35"]
    said = rivals.not_compiled(rows)
    assert said == " torch.compile, ALI and Unrolled GAN: unavailable: A: b."
    size = {"preset": "paper", "batch_size": 64}
    assert rivals.sizes(size) == "paper, batch 64"
    assert rivals.sizes(size | {"precision": "tf32"}) == "paper, batch 64, tf32"
    assert (rivals.seeds({}), rivals.seeds({"seeds": 5})) == ("one seed", "5 seeds")
