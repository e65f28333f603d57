"""The first steps compile while the initial states are made.

Dimension key: S seeds.
"""

import dataclasses

import flax.struct
import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import pytest

from veegan_jax.runtime import parallel
from veegan_jax.runtime.run import Init, Run

BACKEND = "/jax/core/compile/backend_compile_duration"


@flax.struct.dataclass
class State:
    step: jax.Array
    key: jax.Array
    params: jax.Array


def init(seeds):
    keys_S = jax.vmap(jax.random.key)(np.arange(seeds, dtype=np.uint32))
    return State(jnp.zeros(seeds, jnp.int32), keys_S, jnp.arange(seeds, dtype=float))


def step(state, axis_name):
    del axis_name
    key = jax.random.fold_in(state.key, state.step)
    params = state.params + jax.random.uniform(key)
    return state.replace(step=state.step + 1, params=params), {"loss": params}


@pytest.fixture
def compiled():
    """The names of the programs that are compiled from now on."""
    names = []

    def listen(event, duration, **more):
        del duration
        if event == BACKEND:
            names.append(more.get("fun_name", ""))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(("seeds", "num_devices", "programs"), [(3, 2, 1), (5, 4, 2)])
def test_the_call_finds_the_program(compiled, seeds, num_devices, programs):
    devices = jax.devices()[:num_devices]
    state = init(seeds)
    late = parallel.run_steps(step, 2, mode="none", devices=devices)
    expected = jax.tree.map(np.asarray, late(state)[1])
    early = parallel.run_steps(step, 2, mode="none", devices=devices)
    compiled.clear()
    early.compile_ahead(jax.eval_shape(lambda: init(seeds)))
    found = jax.tree.map(np.asarray, early(state)[1])
    np.testing.assert_array_equal(found["loss"], expected["loss"])
    assert sum("one_seed" in name for name in compiled) == programs


class Program:
    """A program of `jax.jit` that counts its calls."""

    calls = 0

    def __call__(self, seeds):
        self.calls += 1
        return init(seeds)

    def eval_shape(self, seeds):
        return jax.eval_shape(lambda: init(seeds))


def test_a_run_goes_on_from_a_checkpoint_and_compiles_nothing_when_done(
    compiled, tmp_path
):
    program = Program()

    def train(steps, **changes):
        run = Run(
            name="r",
            init=Init(program, (2,)),
            step=step,
            steps=steps,
            interval=2,
            labels=["a", "b"],
            workdir=tmp_path,
        )
        compiled.clear()
        state, _ = dataclasses.replace(run, **changes).train()
        return state.params

    train(2)
    went_on = train(3)
    assert sum("one_seed" in name for name in compiled) == 1  # of the step left
    np.testing.assert_array_equal(went_on, train(3))
    assert not any("one_seed" in name for name in compiled)
    assert program.calls == 1  # a checkpoint needs the shapes alone
    other = train(3, init=lambda: init(2), workdir=None)  # any function will do
    np.testing.assert_array_equal(went_on, other)


def test_the_call_raises_what_the_thread_raised():
    def broken(state, axis_name):
        raise ValueError("no such step")

    run = parallel.run_steps(broken, 1, mode="none", devices=jax.devices()[:1])
    run.compile_ahead(jax.eval_shape(lambda: init(1)))
    with pytest.raises(ValueError, match="no such step"):
        run(init(1))
