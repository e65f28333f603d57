"""Unrolled GAN (Metz et al. 2017).

D follows its own Adam for k updates on this step's fixed minibatch, G(z) held at its
present value in each but differentiated through; G then minimizes the saddle value
that the k-times updated D reaches,

    f(D, G) = E log sigmoid(D(x)) + E log(1 - sigmoid(D(G(z)))),   L_D = -f(D_0, G)
    L_G = f(D_k(D_0, G), G)

with the gradient taken through all k updates, moments included. The first of them is
D's real update: both networks move simultaneously, as in the authors' code.

Dimension key: B batch, Z latent (with G's noise inputs), X data dimensions.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from veegan_jax import config as configs
from veegan_jax.common import fields
from veegan_jax.config import Config
from veegan_jax.methods import base
from veegan_jax.methods.base import Metrics, TrainState
from veegan_jax.runtime import numerics, parallel, rng

softplus = jax.nn.softplus


@dataclasses.dataclass(frozen=True)
class Objective(configs.Objective):
    """The number of D's unrolled updates."""

    unrolled_steps: int = fields.field(
        5, "updates of D unrolled for G's loss", "objective", within="[1, 100]"
    )


@numerics.standard
def train_step(
    state: TrainState, x_BX: jax.Array, *, config: Config, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Update D and G simultaneously on a batch of real examples."""
    generator = config.generator(axis_name)
    discriminator = config.discriminator(axis_name)
    # Without eps_root the gradient through an update is infinite wherever D's own
    # gradient is 0, as behind a dead ReLU.
    optimizer = base.optimizer(config, "discriminator", eps_root=1e-16)
    key_z = jax.random.fold_in(state.key, state.step)
    z_BZ = rng.normal(key_z, config.latent_shape(len(x_BX)), axis_name=axis_name)
    further_steps = config.objective.unrolled_steps - 1

    def loss_of_d(params_d, fake_BX):
        real_logit = discriminator.apply({"params": params_d}, x_BX)
        fake_logit = discriminator.apply({"params": params_d}, fake_BX)
        return jnp.mean(softplus(-real_logit)) + jnp.mean(softplus(fake_logit))

    def loss_of_g(params_g):
        fake_BX, stats_g = base.apply_training(
            generator, params_g, state.batch_stats["generator"], z_BZ
        )

        def update_d(carry, _):
            params_d, opt_state = carry
            loss_d, grad = jax.value_and_grad(loss_of_d)(params_d, fake_BX)
            grad, loss_d = parallel.mean((grad, loss_d), axis_name)
            updates_d, opt_state = optimizer.update(grad, opt_state)
            params_d = optax.apply_updates(params_d, updates_d)
            return (params_d, opt_state), (grad, loss_d)

        carry = state.params["discriminator"], state.opt_state["discriminator"]
        carry, (grad_d, loss_d) = update_d(carry, None)
        if further_steps:
            carry, _ = jax.lax.scan(update_d, carry, length=further_steps, unroll=True)
        loss_g = -loss_of_d(carry[0], fake_BX)
        return loss_g, (grad_d, loss_d, {"generator": stats_g})

    (loss_g, (grad_d, loss_d, batch_stats)), grad_g = jax.value_and_grad(
        loss_of_g, has_aux=True
    )(state.params["generator"])
    grad_g, batch_stats, loss_g = parallel.mean(
        (grad_g, batch_stats, loss_g), axis_name
    )
    grads = {"discriminator": grad_d, "generator": grad_g}
    metrics = {"loss_d": loss_d, "loss_g": loss_g}
    return base.advance(state, grads, batch_stats, config), metrics


init, sample, generate = base.init_pair, base.sample, base.generate
