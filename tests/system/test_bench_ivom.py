"""bench/ivom.py: its PyTorch peer makes the same images, its record fills the table.

Dimension key: B batch, Z latent, H height, W width, C channels.
"""

import json
import statistics

import ivom_table
import ivom_tasks
import jax
import numpy as np
import pytest
from support import programs

from veegan_jax.common import errors
from veegan_jax.experiments import base, ivom_glance, stored
from veegan_jax.methods import base as method_base
from veegan_jax.presets import resolve
from veegan_jax.runtime import checkpoint

# For images of 6, 3 and 2 pixels: one size is odd.
WIDTHS = {"quick": (5, 4, 3), "paper": (5, 4)}


@pytest.fixture(scope="module")
def bench():
    yield from programs.as_module("bench/ivom")


@pytest.fixture(scope="module")
def configs():
    changes = dict(latent_size=4, discriminator_widths=(3, 4), kernel_init="he")
    changes |= dict(generator_noise=1, image_size=6)
    return {
        preset: resolve.resolve("gan", "digits", preset).replace(
            generator_widths=widths, **changes
        )
        for preset, widths in WIDTHS.items()
    }


@pytest.fixture(scope="module")
def states(configs):
    """Disturb every parameter of the average, so that none has its initial value."""
    random = np.random.default_rng(0)

    def disturb(params):
        return jax.tree.map(
            lambda a: a + 0.3 * random.normal(size=a.shape).astype(a.dtype), params
        )

    found = {}
    for preset, config in configs.items():
        state = ivom_tasks.random_state(config)
        found[preset] = state.replace(ema=disturb(state.ema))
    return found


@pytest.fixture
def peers():
    torch = pytest.importorskip("torch", reason="the optional extra [bench]")
    import torch_ivom

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two spin while they wait: for long on a busy machine
    yield torch_ivom
    torch.set_num_threads(threads)


@pytest.mark.parametrize("preset", WIDTHS)
def test_peer_makes_the_images_of_the_jax_generator(
    preset, bench, configs, states, peers, generator
):
    import torch

    config, state = configs[preset], states[preset]
    sample = ivom_glance.sampler(state, config)
    z_BZ = generator.normal(size=(5, 4)).astype(np.float32)
    x_BHWC = np.asarray(sample(z_BZ))
    assert x_BHWC.std(axis=0).mean() > 0.05
    found = peers.variants(config, state, "cpu", 2)
    assert list(found) == [
        *("contiguous, 1 thread", "contiguous, 2 threads"),
        *("channels_last, 1 thread", "channels_last, 2 threads"),
    ]
    for peer in found.values():
        assert peers.check(peer, sample, z_BZ) < 1e-5
        # An error and a gradient are JAX's, too.
        z = torch.tensor(z_BZ[:1], requires_grad=True)
        error = (peer(z) - peer.target(x_BHWC[1])).square().mean()
        error.backward()
        value, grad_Z = bench.evaluate(sample, z_BZ[0], x_BHWC[1])
        assert error.item() == pytest.approx(float(value), rel=1e-4)
        np.testing.assert_allclose(z.grad[0], grad_Z, rtol=1e-3, atol=1e-6)
    state = state.replace(ema=state.params["generator"])
    with pytest.raises(ValueError, match="differs from JAX's by"):
        peers.check(peer, ivom_glance.sampler(state, config), z_BZ)


def test_random_weights_make_images_that_vary(configs):
    config = configs["paper"]
    state = ivom_tasks.random_state(config)
    # In inference mode as in training, on the batch that set the moments.
    z_BZ = jax.random.normal(jax.random.key(1), config.latent_shape(256))
    variables = state.params["generator"], state.batch_stats["generator"]
    expected, _ = method_base.apply_training(config.generator(), *variables, z_BZ)
    x_BHWC = method_base.generate(state, z_BZ, config=config)
    np.testing.assert_allclose(x_BHWC, expected, atol=1e-3)
    assert np.std(x_BHWC, axis=0).mean() > 0.1


def test_every_solver_finds_the_images_that_a_generator_made(
    bench, configs, states, peers, generator
):
    config, state = configs["quick"], states["quick"]
    sample = ivom_glance.sampler(state, config)
    z_BZ = generator.normal(size=(2, 4)).astype(np.float32)
    task = ivom_tasks.Task("", config, state, sample, np.asarray(sample(z_BZ)), "")
    near_NKZ = z_BZ[:, None] + 0.01
    by_torch, about = bench.by_torch(task, 2, "cpu", z_BZ)
    assert about["variant"] in peers.variants(config, state, "cpu", 2)
    for minimize in (bench.by_scipy(task, 2), by_torch):
        found = bench.loop(minimize, near_NKZ, np.full(2, 1e-12))
        for i, x_HWC in enumerate(task.targets_NX):
            error, start = (
                bench.evaluate(sample, z_Z, x_HWC)[0]
                for z_Z in (found.z_NZ[i], near_NKZ[i, 0])
            )
            assert error < 1e-3 * start
        assert found.evaluations_NK.shape == (2, 1)
        assert np.all(found.evaluations_NK > 2)
    loose = bench.loop(by_torch, near_NKZ, np.full(2, 1e-2))
    assert np.all(loose.evaluations_NK < found.evaluations_NK)


def test_agreement_counts_equal_and_lower_images(bench):
    ours_N = np.array([1.0, 1.0005, 0.9, 1.1])
    shares = bench.agreement(ours_N, np.ones(4))
    assert shares == {"equal": 0.5, "lower": 0.25}


def test_record_fills_the_table(scripts, tmp_path, monkeypatch, peers):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    path = tmp_path / "records" / "ivom.json"
    done = scripts.run(
        "bench/ivom.py",
        *("--tiny", "--presets=paper", "--repeats=2", "--starts=2", "--images=4"),
        *("--loop_images=3", f"--output={path}"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["records"]
    record = json.loads(path.read_text())
    (row,) = record["rows"]
    assert (row["generator"], row["images"], row["spread"] > 0.05) == ("paper", 4, True)
    solvers = row["solvers"]
    assert list(solvers) == ["ours", "scipy", "torch"]
    assert list(row["against"]) == ["scipy", "torch"]
    for solver in solvers.values():
        assert len(solver["images_per_second"]) == 2 and len(solver["errors"]) == 3
        assert solver["median"] == statistics.median(solver["images_per_second"])
        assert solver["mean_error"] == pytest.approx(np.mean(solver["errors"]))
        # The noise is 0.1 in each pixel, less where it is clipped or fitted.
        assert 0.002 < solver["mean_error"] < 0.015
        assert solver["evaluations_per_pair"] > 5
    for name, found in row["against"].items():
        ratio = solvers["ours"]["median"] / solvers[name]["median"]
        assert found["ratio"] == pytest.approx(ratio)
        low, high = found["ratio_range"]
        assert low <= high and 0 <= found["equal"] + found["lower"] <= 1
    assert solvers["torch"]["largest_difference"] < 1e-5

    table = ivom_table.table(record)
    assert table in done.stdout
    assert f"| PyTorch's loop ({solvers['torch']['variant']}) | " in table
    for text in (record["versions"]["jax"], record["torch"], record["scipy"]):
        assert text in table


def test_a_run_is_measured_on_its_test_images(bench, peers, tmp_path):
    changes = dict(steps=4, batch_size=8, latent_size=3, generator_widths=(6,))
    changes |= dict(reconstructor_widths=(5,), discriminator_widths=(5,))
    config = resolve.resolve("gan", "digits", "dense", **changes)
    state = base.init_seeds(range(2), config)
    stored.claim(tmp_path, config, base.Options(seeds=2))
    checkpoints = checkpoint.Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(4, state.replace(step=state.step + 4))
    checkpoints.close()
    task = ivom_tasks.from_run(tmp_path, 6, "")
    assert task.name == "gan on digits, seed 0, 4 steps"
    assert task.targets_NX.shape == (6, 64) and "digits" in task.data
    settings = dict(loop_images=2, starts=2, repeats=1, torch_device=None)
    row = bench.measure(task, **settings)
    assert list(row["solvers"]) == ["ours", "scipy"]
    assert ivom_table.table(
        {
            **dict(rows=[row], command="", commit="", device="", scipy="", torch=None),
            **dict(versions={"jax": ""}, wall_seconds=0),
        }
    ).startswith("| generator ")
    with pytest.raises(errors.InputError, match="give --notorch"):
        peers.check_config(config)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--presets=quik", "--presets: unknown 'quik'; any of quick, paper"),
        ("--loop_images=0", "--loop_images=0 must be at least 1"),
        ("--run=nowhere --notorch", "nowhere"),
    ],
)
def test_bad_flags_fail_before_any_work(scripts, flag, message, tmp_path):
    done = scripts.run("bench/ivom.py", *flag.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
