"""GDPP (Elfeki et al. 2019): eigenvalues and eigenvectors of feature kernels matched.

    L_D = E softplus(-D(x)) + E softplus(D(G(z)))
    L_G = [ E softplus(-D(G(z))) + 1e-4 mean (l' - l)^2 - sum_i n_i |v'_i . v_i| ] / 2

(l, v) are the eigenvalues and eigenvectors of the kernel f f^T [B, B] of D's last
hidden layer f on the real batch, its rows scaled to norm 1; (l', v') those of the
samples'; n are the l scaled to [0, 1]. The constants are those of the authors' code.

A batch of 512 over 128 features has 384 eigenvalues that are 0, and the gradient of an
eigenvector divides by differences of eigenvalues. Here a difference d counts as
(d^2 + e^2) / d, so the gradient is finite everywhere; vectors of equal eigenvalues have
no direction of their own to learn. The sign of an eigenvector is arbitrary, and
rounding decides it, so products count without theirs; the authors' code keeps it. D and
G move simultaneously.

Dimension key: B batch, F features, Z latent (with G's noise inputs), X data dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp

from veegan_jax import config as configs
from veegan_jax.common import fields
from veegan_jax.config import Config
from veegan_jax.methods import base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, parallel, rng

softplus = jax.nn.softplus
MAGNITUDE_WEIGHT = 1e-4
RESOLUTION = 1e-5  # e, of eigenvalues whose mean is 1


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The weight of both terms of diversity."""

    diversity_weight: float = fields.field(
        1.0, "weight of the distance of features", "objective", within="[0, inf)"
    )


init = base.init_pair


@jax.custom_vjp
def eigh(matrix_BB: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return (eigenvalues rising, eigenvectors in columns), with a finite gradient."""
    values_B, vectors_BB = jnp.linalg.eigh(matrix_BB)
    return values_B, vectors_BB


def _eigh_forward(matrix_BB):
    found = eigh(matrix_BB)
    return found, found


@numerics.exact
def _eigh_backward(found, cotangents):
    values_B, vectors_BB = found
    d_values_B, d_vectors_BB = cotangents
    transposed_BB = jnp.swapaxes(vectors_BB, -1, -2)
    gap_BB = values_B[..., None, :] - values_B[..., :, None]
    inverse_BB = gap_BB / (gap_BB**2 + RESOLUTION**2)
    inner_BB = inverse_BB * (transposed_BB @ d_vectors_BB)
    eye_BB = jnp.eye(values_B.shape[-1], dtype=bool)
    inner_BB = jnp.where(eye_BB, d_values_B[..., None], inner_BB)
    whole_BB = vectors_BB @ inner_BB @ transposed_BB
    return (0.5 * (whole_BB + jnp.swapaxes(whole_BB, -1, -2)),)


eigh.defvjp(_eigh_forward, _eigh_backward)


@numerics.exact
def diversity(real_BF: jax.Array, fake_BF: jax.Array) -> jax.Array:
    """Return the loss of two sets of features: of magnitude, and of structure."""
    both_2BF = jnp.stack([real_BF, fake_BF])
    both_2BF /= jnp.sqrt(jnp.sum(both_2BF**2, axis=2, keepdims=True) + 1e-12)
    # One call for both: jaxlib 0.10 waits for ever if two run at once on two cores.
    (real_B, fake_B), (real_BB, fake_BB) = eigh(both_2BF @ jnp.swapaxes(both_2BF, 1, 2))
    magnitude = jnp.mean((fake_B - real_B) ** 2)
    low, high = real_B[0], real_B[-1]
    share_B = (real_B - low) / (high - low + 1e-12)
    structure = -jnp.sum(share_B * jnp.abs(jnp.sum(fake_BB * real_BB, axis=0)))
    return MAGNITUDE_WEIGHT * magnitude + structure


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D and G simultaneously on a batch of real examples."""
    generator = config.generator(axis_name)
    discriminator = config.discriminator(axis_name)
    key_z = jax.random.fold_in(state.key, state.step)
    z_BZ = rng.normal(key_z, config.latent_shape(len(x_BX)), axis_name=axis_name)

    def losses(params):
        fake_BX, stats_g = base.apply_training(
            generator, params["generator"], state.batch_stats["generator"], z_BZ
        )
        judged = (
            base.apply_for_features(discriminator, params["discriminator"], x)
            for x in (x_BX, fake_BX)
        )
        (real_logit, real_BF), (fake_logit, fake_BF) = judged
        loss_d = jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))
        found = diversity(
            parallel.gather(real_BF, axis_name), parallel.gather(fake_BF, axis_name)
        )
        adversary = jnp.mean(softplus(-fake_logit))
        loss_g = 0.5 * (adversary + config.objective.diversity_weight * found)
        return (loss_d, loss_g), ({"generator": stats_g}, found)

    grads, (loss_d, loss_g), (batch_stats, found) = base.simultaneous_gradients(
        losses, state.params, base.turn_of_d(state, config)
    )
    metrics = {"loss_d": loss_d, "loss_g": loss_g, "diversity": found}
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate = base.sample, base.generate
