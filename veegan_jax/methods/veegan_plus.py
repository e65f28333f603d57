"""VEEGAN+: VEEGAN's idea with what is known today to keep a GAN from collapsing.

As in VEEGAN, D judges pairs, and R learns to invert G on z ~ N(0, I):

    fake pair (z, G(z)), logit f;    real pair (R(x), x), logit r
    L_D  = E softplus(f - r) + gamma/2 E[ |grad f|^2 + |grad r|^2 ]
    L_GR = E softplus(r - f) + w E 1/2 |z - R(G(z))|^2

What differs: the logits are compared pairwise (relativistic loss), D's slope in (z, x)
is penalised at both pairs on every step (R3GAN, Huang et al. 2024, there for x alone),
R is deterministic and, as on the mixtures, may fool D as well (on images it learns from
the reconstruction alone), gamma falls geometrically over the run, D may judge packs of
pairs (PacGAN, Lin et al. 2018), and D and R may read features of x (networks/mlp.py).
All networks work on x / data_scale, and slopes in x are taken per penalty_scale of
that, so that gamma and the frequencies mean the same for every dataset.

Dimension key: B batch, Z latent, E noise inputs of G, X data dimensions.
"""

import jax
import jax.numpy as jnp

from veegan_jax import networks
from veegan_jax.config import Config
from veegan_jax.methods import base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import parallel, rng


def init(key: jax.Array, config: Config) -> TrainState:
    """Initializes G, R and D from a typed key."""
    key_g, key_r, key_d, key_train = jax.random.split(key, 4)
    latent_BZE = jnp.zeros(networks.latent_shape(config, 1))
    z_BZ = jnp.zeros((config.pack, config.latent_size))
    x_BX = networks.example(config, config.pack)
    one_pack = networks.pack(z_BZ, config.pack), networks.pack(x_BX, config.pack)
    variables = {
        "generator": networks.generator(config).init(key_g, latent_BZE),
        "reconstructor": networks.reconstructor(config).init(key_r, x_BX),
        "discriminator": networks.discriminator(config).init(key_d, *one_pack),
    }
    return base.create(key_train, config, variables)


def gamma(step: jax.Array, config: Config) -> jax.Array:
    """Weight of the penalty: held, then to gamma_end by a constant factor a step."""
    hold, end = config.gamma_decay_start, config.gamma_decay_end
    progress = jnp.clip((step / config.steps - hold) / (end - hold), 0, 1)
    return config.gamma * (config.gamma_end / config.gamma) ** progress


def fourier_gain(step: jax.Array, config: Config) -> jax.Array | float:
    """How much of the sines and cosines D sees: all, or rising over a fifth of T."""
    if config.fourier_start == 0:
        return 1.0
    return jnp.clip(5 * (step / config.steps - config.fourier_start), 0, 1)


def losses(
    fake_logit: jax.Array, real_logit: jax.Array, config: Config
) -> tuple[jax.Array, jax.Array]:
    """The adversarial part of (L_D, L_GR): compared pairwise, or each by itself."""
    softplus = jax.nn.softplus
    if config.relativistic:
        margin_B = real_logit - fake_logit
        return jnp.mean(softplus(-margin_B)), jnp.mean(softplus(margin_B))
    loss_d = jnp.mean(softplus(fake_logit)) + jnp.mean(softplus(-real_logit))
    loss_gr = jnp.mean(softplus(-fake_logit)) + jnp.mean(softplus(real_logit))
    return loss_d, loss_gr


def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """One simultaneous update of D, G and R on a batch of real examples."""
    generator = networks.generator(config, axis_name)
    reconstructor = networks.reconstructor(config, axis_name)
    discriminator = networks.discriminator(config, axis_name)
    batch = x_BX.shape[0]
    x_BX = x_BX / config.data_scale
    key_z = jax.random.fold_in(state.key, state.step)
    latent_BZE = rng.normal(
        key_z, networks.latent_shape(config, batch), axis_name=axis_name
    )
    z_BZ = latent_BZE[:, : config.latent_size]

    def make_pairs(params_g, params_r):
        fake_BX, stats_g = networks.train(
            generator, params_g, state.batch_stats["generator"], latent_BZE
        )
        both = parallel.concat_examples(fake_BX, x_BX)
        codes_BZ, stats_r = networks.train(
            reconstructor, params_r, state.batch_stats["reconstructor"], both
        )
        fake_code_BZ, code_BZ = parallel.split_examples(codes_BZ)
        error = 0.5 * jnp.mean(jnp.sum((z_BZ - fake_code_BZ) ** 2, axis=1))
        batch_stats = {"generator": stats_g, "reconstructor": stats_r}
        return (fake_BX, code_BZ, error), batch_stats

    (fake_BX, code_BZ, reconstruction), pullback, batch_stats = jax.vjp(
        make_pairs,
        state.params["generator"],
        state.params["reconstructor"],
        has_aux=True,
    )
    gain = fourier_gain(state.step, config)
    pairs = (
        parallel.concat_examples(z_BZ, code_BZ),
        parallel.concat_examples(fake_BX, x_BX),
    )

    def loss_of_d(params_d):
        def sum_of_logits(z, x):
            packed = networks.pack(z, config.pack), networks.pack(x, config.pack)
            logit = discriminator.apply(
                {"params": params_d}, *packed, fourier_gain=gain
            )
            logit = logit[:, 0]
            return jnp.sum(logit), logit

        slopes, logit = jax.grad(sum_of_logits, argnums=(0, 1), has_aux=True)(*pairs)
        logits = parallel.split_examples(logit)
        slope_z, slope_x = slopes
        square = jnp.sum(slope_z**2) + config.penalty_scale**2 * jnp.sum(slope_x**2)
        penalty = 0.5 * square / len(logits[0])
        loss, _ = losses(*logits, config)
        # Without a penalty there is no second derivative to take; one that varies over
        # the members of a sweep is above 0.
        if isinstance(config.gamma, jax.Array) or config.gamma:
            loss += gamma(state.step, config) * penalty
        return loss, (logits, slopes, penalty)

    (loss_d, (logits, (slope_z, slope_x), penalty)), grad_d = jax.value_and_grad(
        loss_of_d, has_aux=True
    )(state.params["discriminator"])
    # The penalty has D's slope at every pair already: the chain rule through
    # L_GR's derivatives in the logits is all that is left for G and R.
    loss_gr, (dlogit_fake_B, dlogit_real_B) = jax.value_and_grad(
        lambda fake, real: losses(fake, real, config)[1], argnums=(0, 1)
    )(*logits)
    if not config.adversarial_reconstructor:
        dlogit_real_B = jnp.zeros_like(dlogit_real_B)
    dlogit_fake_B, dlogit_real_B = (
        jnp.repeat(c, config.pack) for c in (dlogit_fake_B, dlogit_real_B)
    )
    one_each = (batch,) + (1,) * (x_BX.ndim - 1)
    cotangents = (
        dlogit_fake_B.reshape(one_each) * parallel.split_examples(slope_x)[0],
        dlogit_real_B[:, None] * parallel.split_examples(slope_z)[1],
        jnp.asarray(config.reconstruction_weight, reconstruction.dtype),
    )
    grad_g, grad_r = pullback(cotangents)
    grads = {"discriminator": grad_d, "generator": grad_g, "reconstructor": grad_r}
    metrics = {
        "loss_d": loss_d,
        "loss_gr": loss_gr + config.reconstruction_weight * reconstruction,
        "reconstruction": reconstruction,
        "penalty": penalty,
    }
    grads, batch_stats, metrics = parallel.mean(
        (grads, batch_stats, metrics), axis_name
    )
    return base.advance(state, grads, batch_stats, config), metrics


sample = base.generate


def reconstruct(state: TrainState, x_BX: jax.Array, *, config: Config) -> jax.Array:
    """z_BZ given x_BX."""
    return base.reconstruct(state, x_BX / config.data_scale, config=config)
