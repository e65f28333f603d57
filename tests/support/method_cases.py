"""Small configurations of every method whose networks move together.

Dimension key: B batch, Z latent, X data dimensions.
"""

import dataclasses
from typing import Any

from support import plain_networks

from veegan_jax import config as configs
from veegan_jax.config import Config
from veegan_jax.methods import (
    ali,
    alice,
    bures,
    gdpp,
    hinge,
    mdgan,
    pacgan,
    rpgan,
    topk,
    unrolled,
    veegan,
    veegan_plus,
)
from veegan_jax.networks.configs import MLP, CodeMLP

B, Z, X = 6, plain_networks.Z, 3
NETWORKS = MLP(
    generator_widths=(5, 4),
    generator_noise=1,
    reconstructor_widths=(4,),
    discriminator_widths=(5, 4),
    activation="tanh",
)


def case(
    method: str, objective: Any, networks: MLP = NETWORKS, **changes: Any
) -> Config:
    config = Config(
        method,
        steps=7,
        batch_size=B,
        latent_size=Z,
        data=configs.Vectors(X),
        networks=networks,
        objective=objective,
        optimizer=configs.Optimizer(
            learning_rate=0.02, learning_rate_d=0.03, schedule="cosine", ema=0.9
        ),
    )
    return config.replace(**changes)


# Between them they use every option of the networks.
CASES = {
    "gan": case(
        "gan",
        configs.Objective(),
        batch_norm=True,
        activation="leaky_relu",
        kernel_init="he",
    ),
    "pacgan": case(
        "pacgan", pacgan.Objective(pack=3), batch_norm=True, moment_features=True
    ),
    "ali": case("ali", ali.Objective(reconstructor_noise=2), maxout=3, batch_norm=True),
    "unrolled": case(
        "unrolled", unrolled.Objective(unrolled_steps=3), kernel_init="orthogonal"
    ),
    "unrolled_1": case(
        "unrolled", unrolled.Objective(unrolled_steps=1), schedule="constant", ema=0.0
    ),
    "veegan": case("veegan", veegan.Objective(reconstructor_std=0.7), batch_norm=True),
    "veegan_adversarial": case(
        "veegan_adversarial",
        veegan.Objective(reconstructor_std=0.7, adversarial_reconstructor=True),
    ),
    "veegan_mean": case(
        "veegan_mean",
        veegan.Objective(reconstruction_weight=1 / Z, reconstructor_std=0.0),
    ),
    "veegan_plus": case(
        "veegan_plus",
        veegan_plus.Objective(
            adversarial_reconstructor=True,
            reconstruction_weight=0.3,
            gamma=0.8,
            gamma_end=0.05,
            pack=2,
        ),
        scale=2.5,
        fourier_size=4,
        batch_norm=True,
    ),
    "veegan_plus_high_dim": case(
        "veegan_plus",
        veegan_plus.Objective(
            adversarial_reconstructor=True,
            fourier_start=0.05,
            penalty_scale=1.7,
            gamma=0.8,
            gamma_end=0.05,
            gamma_decay_start=0.1,
            gamma_decay_end=0.9,
        ),
        CodeMLP(**dataclasses.asdict(NETWORKS), generator_code=3),
        activation="leaky_relu",
        moment_features=True,
        latent_gain=3.0,
        reconstructor_gain=0.3,
        bias_std=0.5,
    ),
    "rpgan": case(
        "rpgan",
        rpgan.Objective(gamma=0.8, gamma_end=0.05, penalty_scale=1.7),
        scale=2.5,
        fourier_size=4,
        batch_norm=True,
    ),
    "rpgan_r1": case(
        "rpgan",
        rpgan.Objective(
            relativistic=False, penalty_fake=False, gamma=0.8, gamma_end=0.05
        ),
    ),
    "rpgan_r2": case(
        "rpgan", rpgan.Objective(penalty_real=False, gamma=0.8, gamma_end=0.05)
    ),
    "hinge": case("hinge", hinge.Objective(3.0), spectral_norm=True, batch_norm=True),
    "topk": case(
        "topk", topk.Objective(top_share=0.3, top_decay_end=0.4), batch_norm=True
    ),
    # With more features some of their singular values are too small for 15 iterations.
    "bures": case(
        "bures",
        bures.Objective(diversity_weight=0.7),
        discriminator_widths=(6, 2),
        batch_norm=True,
    ),
    "gdpp": case(
        "gdpp",
        gdpp.Objective(diversity_weight=0.7),
        discriminator_widths=(8, 9),
    ),
    "mdgan": case(
        "mdgan",
        mdgan.Objective(data_reconstruction_weight=0.3, reconstruction_realism=0.6),
        batch_norm=True,
    ),
    "alice": case(
        "alice",
        alice.Objective(reconstructor_noise=2, data_reconstruction_weight=0.3),
        maxout=3,
        batch_norm=True,
    ),
    "veegan_plus_relu": case(
        "veegan_plus",
        veegan_plus.Objective(relativistic=False, penalty=False),
        activation="relu",
        generator_noise=0,
    ),
}
