"""Methods of the user's own: how files are loaded, and what is told of mistakes."""

import functools
import json
import pathlib
import sys
import textwrap
import types

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors, metrics_log
from veegan_jax.experiments import base, stored
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.methods import checks, gan
from veegan_jax.metrics import mixtures as mixture_metrics
from veegan_jax.metrics import published
from veegan_jax.presets import resolve
from veegan_jax.runtime import run

HEAD = "import jax.numpy as jnp\nfrom veegan_jax.methods import gan\n"
PLAIN = HEAD + "init, train_step, sample = gan.init, gan.train_step, gan.sample\n"
CHANGES = dict(steps=4, batch_size=8, generator_widths=(4,), discriminator_widths=(4,))


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """The methods and paths as they are, whatever a test adds."""
    monkeypatch.setattr(methods, "METHODS", dict(methods.METHODS))
    monkeypatch.setattr(sys, "path", list(sys.path))


def write(path: pathlib.Path, text: str) -> pathlib.Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def config_of(name: str):
    return resolve.resolve(name, "ring", "quick", **CHANGES)


def test_a_file_is_loaded_as_a_script_is(tmp_path):
    """Postponed annotations, a Flax module, no suffix, and a file beside it."""
    write(tmp_path / "losses.py", "FACTOR = 2.0\n")
    text = """\
        from __future__ import annotations

        import dataclasses

        import flax.linen as nn
        import losses
        from veegan_jax.methods import gan

        init, sample = gan.init, gan.sample

        @dataclasses.dataclass
        class Settings:
            factor: float = losses.FACTOR

        class Small(nn.Module):
            settings: Settings

            @nn.compact
            def __call__(self, x):
                return self.settings.factor * nn.Dense(1)(x)

        def train_step(state, x, *, config, axis_name=None):
            return gan.train_step(state, x, config=config, axis_name=axis_name)
        """
    path = write(tmp_path / "mine", text)
    assert methods.register_file(path) == "mine"
    module = methods.get("mine")
    network = module.Small(module.Settings())
    y, _ = network.init_with_output(jax.random.key(0), jnp.ones((1, 3)))
    assert y.shape == (1, 1)
    assert set(methods.sources("mine")) == {"mine", "losses.py"}
    assert not list(tmp_path.rglob("mine*.pyc"))


def test_an_edit_within_a_second_is_seen(tmp_path):
    """Compiled copies of Python go by size and second; these have both in common."""
    path = write(tmp_path / "one" / "mine.py", PLAIN + "NUMBER = 1\n")
    methods.register_file(path)
    del methods.METHODS["mine"]
    path.write_text(PLAIN + "NUMBER = 2\n")
    methods.register_file(path)
    assert methods.get("mine").NUMBER == 2


def test_files_of_one_name_beside_two_methods_are_two(tmp_path):
    for number in (1, 2):
        folder = tmp_path / str(number)
        write(folder / "helper.py", f"NUMBER = {number}\n")
        text = PLAIN + "import helper\nNUMBER = helper.NUMBER\n"
        methods.register_file(write(folder / f"method_{number}.py", text))
    assert [methods.get(f"method_{n}").NUMBER for n in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine.py", "def f(:\n", r"mine.py is not Python: line 1: invalid syntax"),
        ("mine.py", "x = 1\0", "mine.py is not Python: .*null byte"),
        ("mine.py", PLAIN + "raise SystemExit(3)", "ends the program when"),
        ("mine.py", HEAD + "init = gan.init", "'mine' lacks train_step, sample"),
        ("all.py", PLAIN, "a method cannot be called 'all'"),
        ("a|b.py", PLAIN, r"a method cannot be called 'a\|b'"),
        ("gan.py", PLAIN, "'gan' exists already; choose another name"),
        ("oracle.py", PLAIN, "a method cannot be called 'oracle'"),
        ("..py", PLAIN, r"a method cannot be called '\.'"),
        ("mine.ipynb", "{}", "is a notebook: save its code as a .py file"),
        ("mine.py", "\0x\0", "save it as UTF-8"),
        (
            "mine.py",
            "import jax\njax.config.update('jax_random_seed_offset', 7)",
            "sets jax_random_seed_offset, on which all numbers depend",
        ),
    ],
)
def test_a_file_that_cannot_be_a_method_is_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(errors.InputError, match=f"(?s)--method_file=.*{message}"):
        methods.register_file(path)
    assert set(methods.METHODS) == methods.BUILT_IN
    jax.config.update("jax_random_seed_offset", 0)


def test_what_a_function_or_another_folder_imports_is_part_of_the_method(tmp_path):
    write(tmp_path / "lib" / "elsewhere.py", "SCALE = 1.0\n")
    write(tmp_path / "lazy.py", "SCALE = 1.0\n")
    text = f"import sys\nsys.path.append({str(tmp_path / 'lib')!r})\nimport elsewhere\n"
    text += "import statistics\n" + HEAD + "init, sample = gan.init, gan.sample\n"
    text += "def train_step(state, x, *, config, axis_name=None):\n    import lazy\n"
    text += "    return gan.train_step(state, x, config=config, axis_name=axis_name)\n"
    name = methods.register_file(write(tmp_path / "mine.py", text))
    assert set(methods.sources(name)) == {"mine.py", "elsewhere.py"}
    base.check(config_of(name), base.Options(seeds=1, samples=10))
    assert set(methods.sources(name)) == {"mine.py", "elsewhere.py", "lazy.py"}


def test_a_run_from_before_files_were_compared_goes_on(tmp_path):
    methods.register_file(write(tmp_path / "mine.py", PLAIN))
    workdir, options = tmp_path / "run", base.Options(seeds=1)
    stored.claim(workdir, config_of("mine"), options)
    path = workdir / "config.json"
    identity = json.loads(path.read_text())
    del identity[stored.METHOD_SHA256]
    path.write_text(json.dumps(identity))
    stored.claim(workdir, config_of("mine"), options)
    with pytest.raises(errors.InputError, match="seeds: 1 there, 2 now"):
        stored.claim(workdir, config_of("mine"), base.Options(seeds=2))


def test_a_folder_for_a_method_is_refused(tmp_path):
    with pytest.raises(errors.InputError, match="cannot be read: Is a directory"):
        methods.register_file(tmp_path)


def test_two_names_of_a_method_are_one_too_many(tmp_path):
    path = write(tmp_path / "mine.py", PLAIN)
    with pytest.raises(errors.InputError, match="--method=gan and --method_file="):
        base.plan(
            base.Options(), {"method": "gan"}, ["ring"], None, method_file=str(path)
        )


def mine(**functions):
    """GAN with some functions replaced."""
    own = dict(init=gan.init, train_step=gan.train_step, sample=gan.sample)
    return types.SimpleNamespace(**(own | functions))


def stepping(change):
    """GAN whose step's result a function changes."""

    def train_step(state, x_BX, *, config, axis_name=None):
        found = gan.train_step(state, x_BX, config=config, axis_name=axis_name)
        return change(state, *found)

    return mine(train_step=train_step)


def sampling(change):
    def sample(state, key, num_samples, *, config):
        return change(gan.sample(state, key, num_samples, config=config))

    return mine(sample=sample)


def no_config(state, x_BX, axis_name=None):
    return state, {}


STEP = r"train_step\(state, x, config=config, axis_name=None\)"
SAMPLE = r"sample\(state, key, num_samples, config=config\)"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (stepping(lambda old, new, m: new), f"{STEP} returned a TrainState; expected"),
        (stepping(lambda old, new, m: (m, new)), r"returned \(metrics, state\)"),
        (stepping(lambda old, new, m: (new, m, m)), "a tuple of .*expected .state, m"),
        (stepping(lambda old, new, m: None), f"{STEP} returned None; expected"),
        (stepping(lambda old, new, m: (new, None)), "metrics that are None; expected"),
        (
            stepping(lambda old, new, m: (new, {"loss": jnp.ones(3)})),
            r"the metric 'loss': it is float32 \[3\]; expected a real scalar",
        ),
        (stepping(lambda old, new, m: (new, {"step": 1.0})), "'step': the run logs"),
        (stepping(lambda old, new, m: (new, {"modes": 1.0})), "'modes': the run logs"),
        (stepping(lambda old, new, m: (new, {7: 1.0})), "metric 7: its name is no"),
        (
            stepping(lambda old, new, m: (old, m)),
            "step went from 0 to 0; expected 1: return state.replace",
        ),
        (
            stepping(lambda old, new, m: (new.replace(step=new.step + 0.0), m)),
            r"whose \.step is float32 \[\]; expected int32 \[\]",
        ),
        (
            stepping(lambda old, new, m: (new.replace(params={}), m)),
            "a state of another structure",
        ),
        (sampling(lambda x: (x, x)), f"{SAMPLE} returned a tuple of .*shape .16, 2"),
        (sampling(lambda x: x[:, :1]), r"returned float32 \[16, 1\]; expected"),
        (sampling(lambda x: x.astype(int)), r"returned int32 \[16, 2\]; expected"),
        (sampling(lambda x: x * jnp.nan), "16 of 16 samples with NaN"),
        (
            mine(init=lambda k, c: gan.init(k, c).replace(step=jnp.int32(1))),
            "a state whose step is 1; expected 0",
        ),
        (
            mine(train_step=functools.partial(no_config)),
            f"is called as {STEP}, which it refuses: .*'config'",
        ),
        (mine(init=lambda key, config: {}), r"init\(key, config\) returned a dict"),
        (
            mine(init=lambda key, config: gan.init(key, config).replace(step=0.0)),
            "a state whose step is 0.0",
        ),
        (
            mine(init=lambda k, c: gan.init(k, c).replace(key=jnp.zeros(2))),
            r"a state whose key is float32 \[2\]",
        ),
        (
            mine(train_step=no_config),
            f"is called as {STEP}, which it refuses: .*'config'",
        ),
        (
            mine(generate=lambda state, z, *, config: z[0]),
            r"generate\(state, z, config=config\) returned float32 \[2\]; expected",
        ),
        (
            mine(reconstruct=lambda state, x, *, config: x[:, 0]),
            r"reconstruct\(.* returned float32 \[2\]; expected",
        ),
    ],
)
def test_a_function_that_breaks_the_protocol_is_named(method, message):
    methods.register("mine", method)
    with pytest.raises(errors.InputError, match=f"(?s)^mine.*{message}"):
        checks.check(method, config_of("mine"), mixture_metrics.METRICS)


def test_an_exception_inside_a_function_keeps_its_traceback():
    def train_step(state, x_BX, *, config, axis_name=None):
        raise TypeError("shapes differ")

    with pytest.raises(TypeError, match="shapes differ") as caught:
        checks.check(mine(train_step=train_step), config_of("gan"))
    assert "This happened in train_step(state" in caught.value.__notes__[0]


@pytest.mark.slow
def test_the_built_in_methods_keep_the_protocol():
    for name in methods.METHODS:
        # 20: packs of two, five parts for a critic
        config = resolve.resolve(name, "ring", "quick", batch_size=20)
        checks.check(methods.get(name), config, mixture_metrics.METRICS)


def test_bad_methods_stop_a_run_before_it_claims_anything(tmp_path):
    methods.register("mine", sampling(lambda x: x[:, :1]))
    workdir, options = tmp_path / "run", base.Options(seeds=1, samples=10)
    with pytest.raises(errors.InputError, match="mine: sample"):
        mixture_experiment.run(config_of("mine"), options, workdir)
    assert not workdir.exists()


def test_a_step_without_metrics_trains(tmp_path):
    @flax.struct.dataclass
    class State:
        step: jax.Array
        params: jax.Array

    def step(state, axis_name):
        return State(state.step + 1, 2 * state.params), {}

    state, failures = run.Run(
        name="doubles",
        init=lambda: State(jnp.zeros(1, jnp.int32), jnp.ones(1)),
        step=step,
        steps=4,
        interval=2,
        labels=["seed 0"],
        workdir=tmp_path,
    ).train()
    assert (state.params.tolist(), failures) == ([16.0], {})
    assert [line["step"] for line in metrics_log.read(tmp_path)] == [2, 4]


def test_a_published_row_stands_beside_its_own_protocol_alone():
    found = published.beside("veegan", "grid", "paper")
    assert found.metrics == {"modes": 24.6, "high_quality": 40}
    assert published.beside("veegan", "grid", "quick") is None
    assert published.beside("mine", "grid", "paper") is None
    config = resolve.resolve("veegan", "grid", "paper")
    record = {"config": configs.to_json(config), "options": {"preset": "paper"}}
    assert base.published_row(record) == found
    record["config"]["steps"] -= 1
    assert base.published_row(record) is None  # another budget, another protocol


def test_an_edited_method_is_another_run(tmp_path, monkeypatch):
    """Its files are in the run's identity, with those that it imports, and kept."""
    write(tmp_path / "helper.py", "FACTOR = 1.0\n")
    path = write(tmp_path / "mine.py", PLAIN + "import helper\n")
    methods.register_file(path)
    workdir, options = tmp_path / "run", base.Options(seeds=1)
    stored.claim(workdir, config_of("mine"), options)
    stored.claim(workdir, config_of("mine"), options)
    assert stored.configuration(workdir)[0] == config_of("mine")
    (tmp_path / "helper.py").write_text("FACTOR = 2.00\n")

    del methods.METHODS["mine"]
    with pytest.raises(errors.InputError, match="'mine', which is not built in: give"):
        stored.configuration(workdir)
    methods.register_file(path)
    with pytest.raises(errors.InputError, match=r"method_sha256\.helper\.py: "):
        stored.claim(workdir, config_of("mine"), options)
    with pytest.raises(errors.InputError, match="another version of helper"):
        stored.configuration(workdir)

    del methods.METHODS["mine"]
    methods.register_file(workdir / "method" / "mine.py")  # as it was
    assert stored.configuration(workdir)[0] == config_of("mine")


def test_the_same_file_may_be_registered_twice_and_another_not(tmp_path):
    """Functions of the first may be compiled, and would go on in place of the new."""
    path = write(tmp_path / "mine.py", PLAIN)
    methods.register_file(path)
    methods.register_file(path)
    path.write_text(PLAIN + "# other\n")
    with pytest.raises(errors.InputError, match="edited after it was registered"):
        methods.register_file(path)


def test_samples_that_are_not_finite_are_a_failed_seed():
    bad_SN = np.zeros((3, 5), bool)
    bad_SN[1, 2:] = True
    found = {1: "drew 3 of 5 samples with NaN or infinity"}
    assert base.not_finite(bad_SN) == found
