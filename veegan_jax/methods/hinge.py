"""The hinge loss with spectral normalization (SNGAN, Miyato et al. 2018).

    L_D = E max(0, 1 - c D(x)) + E max(0, 1 + c D(G(z)))
    L_G = -E c D(G(z))

Every kernel of D is divided by its largest singular value (`--spectral_norm`), which
bounds the slope of D: with ReLU it stays below one. The paper has c = 1, for images of
thousands of pixels. Where data lie near to each other D then cannot tell them apart,
and c is its `logit_gain`. The singular value comes from one power iteration a step,
whose vectors are kept with the state. D and G move simultaneously.

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

SPECTRAL_NORM = True  # D may have it


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """How steep D may be."""

    logit_gain: float = fields.field(
        1.0,
        "factor of D's logits, and so of the slope that spectral norm allows",
        "objective",
        within="(0, inf)",
    )


init = base.init_pair


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D and G simultaneously on a batch of real examples."""
    generator = config.generator(axis_name)
    discriminator = config.discriminator(axis_name)
    key_z = jax.random.fold_in(state.key, state.step)
    z_BZ = rng.normal(key_z, config.latent_shape(len(x_BX)), axis_name=axis_name)
    stats = state.batch_stats

    def losses(params):
        fake_BX, stats_g = base.apply_training(
            generator, params["generator"], stats["generator"], z_BZ
        )
        both = parallel.concat_examples(fake_BX, x_BX)
        logit, stats_d = base.apply_training(
            discriminator, params["discriminator"], stats["discriminator"], both
        )
        logit *= config.objective.logit_gain
        fake_logit, real_logit = parallel.split_examples(logit)
        loss_d = jnp.mean(jax.nn.relu(1 - real_logit)) + jnp.mean(
            jax.nn.relu(1 + fake_logit)
        )
        batch_stats = {"generator": stats_g, "discriminator": stats_d}
        return (loss_d, -jnp.mean(fake_logit)), batch_stats

    grads, (loss_d, loss_g), batch_stats = base.simultaneous_gradients(
        losses, state.params, base.turn_of_d(state, config)
    )
    metrics = {"loss_d": loss_d, "loss_g": loss_g}
    return base.update(
        state, grads, batch_stats, metrics, config=config, axis_name=axis_name
    )


sample, generate = base.sample, base.generate
