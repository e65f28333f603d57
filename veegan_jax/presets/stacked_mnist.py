"""The presets of Stacked MNIST.

`quick` has small networks that draw digits after minutes on two CPU cores; `full`
trains the same for longer. `paper` is the full DCGAN. `quarter` and `half` are the
set-up that does not saturate (Metz et al. 2017, appendix): a small pair, D with 1/4 or
1/2 of the channels.
"""

from typing import Any

from veegan_jax import methods
from veegan_jax.config import Config, Stacks
from veegan_jax.methods import ali, alice, meg, pacgan, rpgan, veegan, veegan_plus
from veegan_jax.networks.configs import DCGAN
from veegan_jax.presets import families

PRESETS = ("quick", "full", "paper", "quarter", "half")
SHAPES = {  # height and width, digits of a stack
    "stacked_mnist": (28, 3),
    "stacked_mnist4": (28, 4),
    "stacked_digits": (8, 3),
    "stacked_digits4": (8, 4),
}
DATASETS = tuple(SHAPES)
NETWORKS = ("dcgan",)
DATA = (Stacks,)


def preset(
    name: str, method: str, dataset: str, latent_size: int | None = None
) -> Config:
    """Return the preset `name` of a method on stacks of digits."""
    if name in ("quarter", "half"):
        return small(method, dataset, name, latent_size)
    make = {"quick": quick, "full": full, "paper": paper}[name]
    return make(method, dataset, latent_size)


def paper(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """DCGAN's networks for every method, in PacGAN's set-up but for z ~ N(0, I).

    WGAN-GP and MEG are in that of MEG's paper.
    """
    of_meg = method in ("wgan_gp", "meg")
    latent_size = latent_size or (128 if of_meg else 100)
    losses = objective(method, latent_size)
    return Config(
        method,
        dataset,
        steps=100_000,  # 50 epochs of the 128,000 stacks
        batch_size=families.batch_size(64, losses),
        latent_size=latent_size,
        data=Stacks(*SHAPES[dataset], num_stacks=128_000),
        networks=networks(
            method,
            kernel_size=5,
            output_conv=False,
            generator_widths=(512, 256, 128, 64),
            reconstructor_widths=(64, 128, 256, 512),
            discriminator_widths=(64, 128, 256, 512),
            joint_widths=(1024,) if methods.sees_latents(method) else (),
        ),
        objective=losses,
        optimizer=families.optimizer(
            method,
            learning_rate=1e-4 if of_meg else 2e-4,
            beta2=0.9 if of_meg else 0.999,
            discriminator_every=1 if of_meg else 2,
        ),
    )


def small(
    method: str, dataset: str, name: str, latent_size: int | None = None
) -> Config:
    """The K = 1/4 and K = 1/2 pairs of networks, 500,000 steps."""
    latent_size = latent_size or 256
    losses = objective(method, latent_size)
    return Config(
        method,
        dataset,
        steps=500_000,
        batch_size=families.batch_size(128, losses),
        latent_size=latent_size,
        data=Stacks(*SHAPES[dataset]),
        networks=networks(
            method,
            generator_widths=(64, 32, 16, 8),
            reconstructor_widths=(8, 16, 32),
            discriminator_widths={"quarter": (2, 4, 8), "half": (4, 8, 16)}[name],
            joint_widths=(32,) if methods.sees_latents(method) else (),
        ),
        objective=losses,
        optimizer=families.optimizer(method, learning_rate=1e-4, learning_rate_d=2e-4),
    )


def full(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """The small networks, 20,000 steps of batches of 64."""
    return small_images(method, dataset, Stacks(*SHAPES[dataset]), latent_size)


def quick(method: str, dataset: str, latent_size: int | None = None) -> Config:
    """The same networks, fewer steps of small batches: the most in a few minutes."""
    return hurry(full(method, dataset, latent_size))


def small_images(
    method: str, dataset: str, data: Any, latent_size: int | None, stages: int = 3
) -> Config:
    """Few channels where the image is large, so that a step is cheap on CPU, too.

    Args:
      method: a registered method.
      dataset: what the images are.
      data: their sizes, one of the groups of `config`.
      latent_size: of z; None: 64.
      stages: how often the image's height is halved.
    """
    latent_size = latent_size or 64
    losses = objective(method, latent_size)
    rising = (32, 64, *(128,) * (stages - 2))
    return Config(
        method,
        dataset,
        steps=20_000,
        batch_size=families.batch_size(64, losses),
        latent_size=latent_size,
        data=data,
        networks=networks(
            method,
            output_conv=False,
            generator_widths=(128, *(64,) * (stages - 1)),
            reconstructor_widths=rising,
            discriminator_widths=rising,
            joint_widths=(256,),
        ),
        objective=losses,
        # Large steps: the average of G takes out their noise. Where G minimizes the
        # saddle value, a D that learns as fast wins at once and leaves it flat. So D's
        # are a tenth of G's there, as in the authors' code.
        optimizer=families.optimizer(
            method,
            learning_rate=1e-3,
            learning_rate_d=1e-4 if method == "unrolled" else None,
            ema=0.999,
        ),
    )


def hurry(config: Config) -> Config:
    """Return what of a configuration's training fits into minutes on two cores."""
    batch_size = families.batch_size(32, config.objective)
    config = config.replace(steps=6000, batch_size=batch_size)
    if config.method in families.PLUS:  # D must learn fast before it can win
        config = config.replace(gamma=0.3, gamma_end=0.3)
    if config.method == "veegan_plus":
        config = config.replace(reconstruction_weight=0.1)
    return config


def networks(method: str, **sizes: Any) -> DCGAN:
    """Return networks of the sizes given, with what the method fixes of them.

    Where D's slope is penalized, D must not mix the examples of a batch: it has no
    BatchNorm. Algorithm 1 has a stochastic G.
    """
    if method in families.PENALIZED:
        return DCGAN(discriminator_norm=False, kernel_init="he", **sizes)
    if method == "hinge":
        return DCGAN(discriminator_norm=False, spectral_norm=True, **sizes)
    return DCGAN(generator_noise=int(families.is_algorithm_1(method)), **sizes)


def objective(method: str, latent_size: int) -> Any:
    """Return the settings of a method's losses. Algorithm 1 sums over the latent."""
    if method == "veegan_plus":
        return veegan_plus.Objective(
            gamma=3.0, gamma_end=3.0, reconstruction_weight=0.03
        )
    if method == "rpgan":
        return rpgan.Objective(gamma=3.0, gamma_end=3.0)
    if method == "veegan_adversarial":
        return veegan.Objective(adversarial_reconstructor=True)
    if method == "veegan_mean":
        return veegan.Objective(reconstruction_weight=1 / latent_size)
    if method == "ali":
        return ali.Objective(reconstructor_noise=latent_size)
    if method == "alice":
        return alice.Objective(reconstructor_noise=latent_size)
    if method == "pacgan":
        return pacgan.Objective(pack=4)
    if method == "meg":
        return meg.Objective(score_weight=10.0)  # its paper's, for images
    return methods.objective_class(method)()


def ablations(config: Config) -> dict[str, dict[str, Any]]:
    """VEEGAN+'s choices: name -> the fields that undo one of them in `config`."""
    return {
        "everything": {},
        "reconstruction": {"reconstruction_weight": 0.0},
        "small weight of reconstruction": {"reconstruction_weight": 1.0},
        "constant gamma": {"gamma_end": config.objective.gamma / 10},
        "relativistic loss": {"relativistic": False},
        "penalty": {"penalty": False},
        "R that D does not train": {"adversarial_reconstructor": True},
        "Adam without momentum": {"beta1": 0.5},
        "pairs judged alone": {"pack": 2},
        "float32": {"dtype": "bfloat16"},
    }
