"""All methods in small, under the settings of JAX that users make for all programs.

The settings must give the bits of the default. Each acts apart from the others, so one
process has them all.
"""

import os
import subprocess
import sys

from support.programs import SCRIPTS, TINY

PROGRAM = """
import hashlib
import jax, numpy as np
import jax.numpy as jnp
import veegan_jax
from veegan_jax.data import mixtures
from veegan_jax.metrics import ivom
from veegan_jax.metrics import mixtures as mixture_metrics

def show(name, tree):
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(str(leaf.dtype).encode() + np.asarray(leaf).tobytes())
    print(name, digest.hexdigest())

ring = mixtures.get("ring")
small = dict(generator_widths=(4,), discriminator_widths=(4,))
for method in ("gan", "pacgan", "ali", "unrolled", "veegan", "veegan_plus"):
    if veegan_jax.methods.has_reconstructor(method):
        small["reconstructor_widths"] = (4,)
    else:
        small.pop("reconstructor_widths", None)
    gan = veegan_jax.make(method, "ring", batch_size=8, steps=10, **small)

    @jax.jit
    def train(key):
        state = gan.init(key)
        state, metrics = gan.train_step(state, mixtures.sample(ring, key, 8))
        return state, metrics, gan.sample(state, key, 20)

    show(method, train(jax.random.key(0)))
show("ring", mixture_metrics.evaluate(jnp.full((4, 2), 9.0), ring))
found = ivom.ivom(
    jnp.tanh,
    np.linspace(0, 0.5, 6).reshape(2, 3),
    jax.random.key(0),
    latent_size=3,
    starts=2,
    iterations=5,
    report_at=(0, 5),
)
show("ivom", [np.asarray(leaf) for leaf in jax.tree.leaves(tuple(found))])
"""
SETTINGS = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_DEBUG_NANS": "1",
    "JAX_DEBUG_INFS": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "float32",
}


def _run(command: list, cwd, **settings: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | settings
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment,
        text=True,
        capture_output=True,
    )


def test_every_method_and_score_has_the_bits_of_the_default(tmp_path):
    default, changed = (
        _run(["-c", PROGRAM], tmp_path, **settings) for settings in ({}, SETTINGS)
    )
    assert not default.returncode, default.stderr
    assert not changed.returncode, changed.stderr
    assert changed.stdout == default.stdout


def test_a_script_names_a_platform_that_is_not_there(tmp_path):
    script = SCRIPTS / "train_mixtures.py"
    done = _run([script, *TINY], tmp_path, JAX_PLATFORMS="cdua")
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert done.stderr.startswith("\nJAX_PLATFORMS=cdua: Unable to initialize backend")
    assert done.stderr.endswith("; unset it, or give cpu\n")
    assert "Traceback" not in done.stderr
