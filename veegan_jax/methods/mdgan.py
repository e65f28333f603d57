"""Mode-regularized GAN (Che et al. 2017), its first version: x is reconstructed.

R maps an example to a latent, and G must map it back, to what D takes for real:

    L_D  = E softplus(-D(x)) + E softplus(D(G(z)))
    L_GR = E softplus(-D(G(z))) + l1 E mean (x - G(R(x)))^2 + l2 E softplus(-D(G(R(x))))

So every mode of the data gives G a gradient. It is VEEGAN's rival: both reconstruct,
VEEGAN z and this x. G's noise inputs are 0, their mean, in G(R(x)).

Dimension key: B batch, Z latent, E noise inputs of G, X data dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp

from veegan_jax import config as configs
from veegan_jax.common import fields
from veegan_jax.config import Config
from veegan_jax.methods import base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, rng

softplus = jax.nn.softplus
SEES_LATENTS = False  # D judges x alone, though there is an R


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The weights of both regularizers."""

    data_reconstruction_weight: float = fields.field(
        0.2, "weight of mean (x - G(R(x)))^2", "objective", within="[0, inf)"
    )
    reconstruction_realism: float = fields.field(
        0.4, "weight of D's judgement of G(R(x))", "objective", within="[0, inf)"
    )


@numerics.standard
def init(key: jax.Array, config: Config) -> TrainState:
    """Initialize G, R and D from a typed key."""
    key_g, key_r, key_d, key_train = jax.random.split(key, 4)
    latent_BZE = jnp.zeros(config.latent_shape(1))
    x_BX = config.examples()
    variables = {
        "generator": config.generator().init(key_g, latent_BZE),
        "reconstructor": config.reconstructor().init(key_r, x_BX),
        "discriminator": config.discriminator().init(key_d, x_BX),
    }
    return base.create(key_train, config, variables)


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D, G and R simultaneously on a batch of real examples."""
    generator = config.generator(axis_name)
    reconstructor = config.reconstructor(axis_name)
    discriminator = config.discriminator(axis_name)
    objective = config.objective
    key_z = jax.random.fold_in(state.key, state.step)
    latent_BZE = rng.normal(key_z, config.latent_shape(len(x_BX)), axis_name=axis_name)
    stats = state.batch_stats

    def losses(params):
        fake_BX, stats_g = base.apply_training(
            generator, params["generator"], stats["generator"], latent_BZE
        )
        code_BZ, stats_r = base.apply_training(
            reconstructor, params["reconstructor"], stats["reconstructor"], x_BX
        )
        again_BX, _ = base.apply_training(
            generator,
            params["generator"],
            stats["generator"],
            base.without_noise(code_BZ, config),
        )
        params_d = {"params": params["discriminator"]}
        real_logit, fake_logit, again_logit = (
            discriminator.apply(params_d, x) for x in (x_BX, fake_BX, again_BX)
        )
        loss_d = jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))
        error = jnp.mean(jnp.square(x_BX - again_BX))
        loss_gr = (
            jnp.mean(softplus(-fake_logit))
            + objective.data_reconstruction_weight * error
            + objective.reconstruction_realism * jnp.mean(softplus(-again_logit))
        )
        batch_stats = {"generator": stats_g, "reconstructor": stats_r}
        return (loss_d, loss_gr), (batch_stats, error)

    grads, (loss_d, loss_gr), (batch_stats, error) = base.simultaneous_gradients(
        losses, state.params, base.turn_of_d(state, config)
    )
    metrics = {"loss_d": loss_d, "loss_gr": loss_gr, "data_reconstruction": error}
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate = base.sample, base.generate
reconstruct = base.reconstruct
