"""L-GAN: a generator emits a basis, and random combinations of it are encodings.

    V(e) [k, d], m(e) [d] = G(e),  e ~ N(0, I);   y = m(e) + sum_i a_i v_i(e),  a ~ p
    L_D = E softplus(-D(y_real)) + E softplus(D(y))
    L_G = E softplus(-D(y)) + w E mean_{i < j} cos(v_i, v_j)^2

Encodings are centred and scaled, so that without a learned offset (m = 0) y starts at
the right mean. Only the candidates that fool D are decoded (`accept`).

Source: "Fighting GAN mode collapse by randomly sampling the latent space" (Expedition
Technology). It gives neither the loss, nor k and p, nor how well D must be fooled.

Dimension key: B batch, N encodings, C candidates, E noise, k basis vectors, d encoding.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from lgan_jax import networks, train_state
from lgan_jax.config import Config
from lgan_jax.encodings import Encodings
from lgan_jax.samplers import adversarial
from lgan_jax.train_state import Metrics, TrainState
from veegan_jax.methods import base
from veegan_jax.runtime import numerics, parallel, rng

softplus = jax.nn.softplus


def _generator(config: Config) -> networks.MLP:
    vectors = config.basis_size + config.offset
    return networks.MLP(config.sampler_widths, vectors * config.latent_size)


def init(key: jax.Array, encodings: Encodings, config: Config) -> TrainState:
    """Build the state of step 0."""
    return adversarial.init(key, _generator(config), encodings, config)


def emit(
    params: Any, noise_BE: jax.Array, config: Config
) -> tuple[jax.Array, jax.Array]:
    """Emit the basis [B, k, d] for each noise, and the offset [B, d], 0 without one."""
    out = _generator(config).apply({"params": params}, noise_BE)
    out = out.reshape(len(noise_BE), -1, config.latent_size)
    offset_Bd = (
        out[:, config.basis_size] if config.offset else jnp.zeros_like(out[:, 0])
    )
    return out[:, : config.basis_size], offset_Bd


def draw_coefficients(
    key: jax.Array, num: int, config: Config, axis_name: str | None = None
) -> jax.Array:
    """Draw weights [num, k] of mean 0 and variance 1."""
    normal_Bk = rng.normal(key, (num, config.basis_size), axis_name=axis_name)
    if config.coefficients == "normal":
        return normal_Bk
    # By the normal's distribution function: noise is keyed by the global example.
    quantile_Bk = jax.scipy.stats.norm.cdf(normal_Bk)
    if config.coefficients == "uniform":
        return (2 * quantile_Bk - 1) * 3**0.5
    centred_Bk = jnp.clip(quantile_Bk - 0.5, -0.499999, 0.499999)
    return -jnp.sign(centred_Bk) * jnp.log1p(-2 * jnp.abs(centred_Bk)) / 2**0.5


@numerics.exact
def combine(basis_Bkd: jax.Array, offset_Bd: jax.Array, a_Bk: jax.Array) -> jax.Array:
    """m + a V, [B, d]."""
    return offset_Bd + jnp.einsum("bk,bkd->bd", a_Bk, basis_Bkd)


@numerics.exact
def orthogonality(basis_Bkd: jax.Array) -> jax.Array:
    """Average the squared cosine over pairs of vectors: 0 if a basis is orthogonal."""
    squares = jnp.sum(basis_Bkd**2, axis=-1, keepdims=True)
    unit_Bkd = basis_Bkd * jax.lax.rsqrt(squares + 1e-12)
    cosine_Bkk = jnp.einsum("bid,bjd->bij", unit_Bkd, unit_Bkd)
    k = basis_Bkd.shape[1]
    upper = jnp.triu(jnp.ones((1, k, k)), 1)
    return jnp.mean(jnp.sum(upper * cosine_Bkk**2, axis=(1, 2))) / max(
        1, k * (k - 1) / 2
    )


def train_step(
    state: TrainState, y_Bd: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Take one simultaneous step of D and G on a batch of encodings.

    Args:
      state: of one class, or of all moves.
      y_Bd: centred and scaled encodings, this device's part of the batch.
      config: the run's.
      axis_name: the mapped batch axis, or None.
    """
    _, key_noise, key_a = train_state.step_keys(state, 3)
    shape = len(y_Bd), config.noise_size
    noise_BE = rng.normal(key_noise, shape, axis_name=axis_name)
    a_Bk = draw_coefficients(key_a, len(y_Bd), config, axis_name)
    discriminator = adversarial.discriminator(config)

    def losses(params):
        params_d = {"params": params["discriminator"]}
        basis_Bkd, offset_Bd = emit(params["generator"], noise_BE, config)
        fake_Bd = combine(basis_Bkd, offset_Bd, a_Bk)
        real_logit = discriminator.apply(params_d, y_Bd)
        fake_logit = discriminator.apply(params_d, fake_Bd)
        loss_d = jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))
        cosine = orthogonality(basis_Bkd)
        loss_g = jnp.mean(softplus(-fake_logit)) + config.orthogonality * cosine
        return (loss_d, loss_g), cosine

    grads, (loss_d, loss_g), cosine = base.simultaneous_gradients(losses, state.params)
    metrics = {"loss_d": loss_d, "loss_g": loss_g, "orthogonality": cosine}
    grads, metrics = parallel.mean((grads, metrics), axis_name)
    return train_state.advance(state, grads, adversarial.optimizer(config)), metrics


def accept(key: jax.Array, score_C: jax.Array, num: int, rule: str) -> jax.Array:
    """Choose the candidates to decode.

    Args:
      key: of the rejection.
      score_C: D's logits.
      num: how many to accept, at most C.
      rule: "threshold" takes the highest scores. "rejection" draws without replacement
        in proportion to exp D, which is the density ratio of real to generated if D is
        optimal (Azadi et al. 2019, with a fixed number accepted).

    Returns:
      Their places, int32 [num], in the order they were drawn.
    """
    if rule == "rejection":
        score_C = score_C + jax.random.gumbel(key, score_C.shape)
    _, best_N = jax.lax.top_k(score_C, num)
    return jnp.sort(best_N)  # not in the order of the scores


def sample(state: TrainState, key: jax.Array, n: int, *, config: Config) -> jax.Array:
    """Draw n encodings [n, d] that `accept` chooses, in the autoencoder's units."""
    key_noise, key_a, key_accept = jax.random.split(key, 3)
    every = config.acceptance == "all"
    candidates = n if every else math.ceil(n / config.accepted)
    noise_CE = rng.normal(key_noise, (candidates, config.noise_size))
    a_Ck = draw_coefficients(key_a, candidates, config)
    basis_Ckd, offset_Cd = emit(state.params["generator"], noise_CE, config)
    unit_Cd = combine(basis_Ckd, offset_Cd, a_Ck)
    if not every:
        params = {"params": state.params["discriminator"]}
        score_C = adversarial.discriminator(config).apply(params, unit_Cd)[:, 0]
        unit_Cd = unit_Cd[accept(key_accept, score_C, n, config.acceptance)]
    return state.data.restore(unit_Cd)
