"""VEEGAN+: VEEGAN's idea with what is known today to keep a GAN from collapsing.

As in VEEGAN, D judges pairs, and R learns to invert G on z ~ N(0, I):

    fake pair (z, G(z)), logit f;    real pair (R(x), x), logit r
    L_D  = E softplus(f - r) + gamma/2 E[ |grad f|^2 + |grad r|^2 ]
    L_GR = E softplus(r - f) + w E 1/2 |z - R(G(z))|^2

What differs: the logits are compared pairwise (relativistic loss), D's slope in (z, x)
is penalised at both pairs on every step (R3GAN, Huang et al. 2024, there for x alone),
R is adversarial and deterministic, gamma falls geometrically over the run, and D and R
may read random Fourier features of x. All networks work on x / data_scale, so that
gamma and the frequencies mean the same for every dataset.

Dimension key: B batch, Z latent, E noise inputs of G, X data dimensions.
"""

import jax
import jax.numpy as jnp

from veegan_jax import networks
from veegan_jax import state as states
from veegan_jax.common import parallel, rng
from veegan_jax.config import Config
from veegan_jax.state import Metrics, State


def init(key: jax.Array, config: Config) -> State:
    """Initialises G, R and D from a typed key."""
    key_g, key_r, key_d, key_train = jax.random.split(key, 4)
    latent_BZE = jnp.zeros(networks.latent_shape(config, 1))
    z_BZ = jnp.zeros((1, config.latent_size))
    x_BX = jnp.zeros((1, config.data_size))
    variables = {
        "generator": networks.generator(config).init(key_g, latent_BZE),
        "reconstructor": networks.reconstructor(config).init(key_r, x_BX),
        "discriminator": networks.discriminator(config).init(key_d, z_BZ, x_BX),
    }
    return states.create(key_train, config, variables)


def gamma(step: jax.Array, config: Config) -> jax.Array | float:
    """Weight of the penalty: from gamma to gamma_end by a constant factor a step."""
    if config.gamma == 0:
        return 0.0
    progress = jnp.minimum(1.0, step / (config.gamma_fraction * config.steps))
    return config.gamma * (config.gamma_end / config.gamma) ** progress


def train_step(
    state: State, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[State, Metrics]:
    """One simultaneous update of D, G and R on a batch of real examples."""
    generator = networks.generator(config, axis_name)
    reconstructor = networks.reconstructor(config)
    discriminator = networks.discriminator(config)
    batch = x_BX.shape[0]
    x_BX = x_BX / config.data_scale
    key_z = jax.random.fold_in(state.key, state.step)
    latent_BZE = rng.normal(
        key_z, networks.latent_shape(config, batch), axis_name=axis_name
    )
    z_BZ = latent_BZE[:, : config.latent_size]

    def make_pairs(params_g, params_r):
        fake_BX, updates = generator.apply(
            {"params": params_g, "batch_stats": state.batch_stats},
            latent_BZE,
            train=True,
            mutable=["batch_stats"],
        )
        both = jnp.concatenate([fake_BX, x_BX])
        fake_code_BZ, code_BZ = jnp.split(
            reconstructor.apply({"params": params_r}, both), 2
        )
        error = 0.5 * jnp.mean(jnp.sum((z_BZ - fake_code_BZ) ** 2, axis=1))
        return (fake_BX, code_BZ, error), updates.get("batch_stats", {})

    (fake_BX, code_BZ, reconstruction), pullback, batch_stats = jax.vjp(
        make_pairs,
        state.params["generator"],
        state.params["reconstructor"],
        has_aux=True,
    )
    pairs = jnp.concatenate([z_BZ, code_BZ]), jnp.concatenate([fake_BX, x_BX])

    def loss_of_d(params_d):
        def sum_of_logits(z, x):
            logit = discriminator.apply({"params": params_d}, z, x)[:, 0]
            return jnp.sum(logit), logit

        slopes, logit = jax.grad(sum_of_logits, argnums=(0, 1), has_aux=True)(*pairs)
        fake_logit, real_logit = jnp.split(logit, 2)
        margin_B = real_logit - fake_logit
        penalty = 0.5 * sum(jnp.sum(slope**2) for slope in slopes) / batch
        loss = (
            jnp.mean(jax.nn.softplus(-margin_B)) + gamma(state.step, config) * penalty
        )
        return loss, (margin_B, slopes, penalty)

    (loss_d, (margin_B, (slope_z, slope_x), penalty)), grad_d = jax.value_and_grad(
        loss_of_d, has_aux=True
    )(state.params["discriminator"])
    # The penalty has D's slope at every pair already: the chain rule through
    # L_GR's derivative in the margin is all that is left for G and R.
    slope_of_loss_B1 = jax.nn.sigmoid(margin_B)[:, None] / batch
    cotangents = (
        -slope_of_loss_B1 * slope_x[:batch],
        slope_of_loss_B1 * slope_z[batch:],
        jnp.float32(config.reconstruction_weight),
    )
    grad_g, grad_r = pullback(cotangents)
    grads = {"discriminator": grad_d, "generator": grad_g, "reconstructor": grad_r}
    metrics = {
        "loss_d": loss_d,
        "loss_gr": jnp.mean(jax.nn.softplus(margin_B))
        + config.reconstruction_weight * reconstruction,
        "reconstruction": reconstruction,
        "penalty": penalty,
    }
    grads, batch_stats, metrics = parallel.mean(
        (grads, batch_stats, metrics), axis_name
    )
    return states.advance(state, grads, batch_stats, config), metrics


sample = networks.generate


def reconstruct(state: State, x_BX: jax.Array, *, config: Config) -> jax.Array:
    """z_BZ given x_BX."""
    return networks.reconstructor(config).apply(
        {"params": state.params["reconstructor"]}, x_BX / config.data_scale
    )
