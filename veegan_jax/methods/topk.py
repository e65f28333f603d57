"""Top-k training (Sinha et al. 2020): G learns from its best samples only.

    L_D = E softplus(-D(x)) + E softplus(D(G(z)))
    L_G = mean of softplus(-D(G(z))) over the k samples of the batch that D likes best

k falls from the whole batch to a share of it by a constant factor a step, since D must
first learn what is good. D and G move simultaneously.

Dimension key: B batch, Z latent (with G's noise inputs), X data dimensions.
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


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The share of the samples that G learns from, over the run."""

    top_share: float = fields.field(
        0.5,
        "share of the batch that G learns from in the end",
        "objective",
        within="(0, 1]",
    )
    top_decay_end: float = fields.field(
        0.5,
        "share of the run at which it is reached",
        "objective",
        within="(0, 1]",
    )


init = base.init_pair


def kept(step: jax.Array, batch: int, config: Config) -> jax.Array:
    """Return k, of a batch over all devices: int32 [], from 1 to `batch`."""
    share, end = config.objective.top_share, config.objective.top_decay_end
    progress = jnp.clip(step / config.steps / end, 0, 1)
    return jnp.maximum(1, jnp.round(batch * share**progress).astype(jnp.int32))


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D and G simultaneously on a batch of real examples."""
    generator = config.generator(axis_name)
    discriminator = config.discriminator(axis_name)
    key_z = jax.random.fold_in(state.key, state.step)
    z_BZ = rng.normal(key_z, config.latent_shape(len(x_BX)), axis_name=axis_name)
    k = kept(state.step, len(x_BX) * parallel.size(axis_name), config)

    def losses(params):
        fake_BX, stats_g = base.apply_training(
            generator, params["generator"], state.batch_stats["generator"], z_BZ
        )
        params_d = {"params": params["discriminator"]}
        real_logit_B = discriminator.apply(params_d, x_BX)[:, 0]
        fake_logit_B = discriminator.apply(params_d, fake_BX)[:, 0]
        loss_d = jnp.mean(softplus(-real_logit_B)) + jnp.mean(softplus(fake_logit_B))
        every = parallel.gather(jax.lax.stop_gradient(fake_logit_B), axis_name)
        least = jnp.sort(every)[len(every) - k]
        weight_B = (fake_logit_B >= least) * (len(every) / k)
        loss_g = jnp.mean(weight_B * softplus(-fake_logit_B))
        return (loss_d, loss_g), {"generator": stats_g}

    grads, (loss_d, loss_g), batch_stats = base.simultaneous_gradients(
        losses, state.params, base.turn_of_d(state, config)
    )
    metrics = {"loss_d": loss_d, "loss_g": loss_g}
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate = base.sample, base.generate
