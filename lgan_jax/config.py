"""The configuration of an L-GAN run, one frozen dataclass, and its presets.

Dimension key: k basis vectors.
"""

import dataclasses
from typing import Any

from veegan_jax.common import errors, fields


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyper-parameters of the models that generate.

    Each field with a help text is also a flag of the scripts.
    """

    dataset: str = fields.field(
        "digits",
        "what to amplify; auto: mnist where it is installed, else digits",
        "main",
    )
    fraction: float = fields.field(
        0.1, "share of the training images that is known", "main", within="(0, 1]"
    )
    data_size: int = 64  # numbers in an image; it follows from the data

    latent_size: int = fields.field(
        12, "dimensions of an encoding", "autoencoder", within="[1, inf)"
    )
    autoencoder_widths: tuple[int, ...] = fields.field(
        (128,),
        "hidden layers of the encoder; the decoder mirrors them",
        "autoencoder",
        within="[1, inf)",
    )
    shared_autoencoders: int = fields.field(
        4,
        "number of autoencoders of all classes; each makes equally many images",
        "autoencoder",
        within="[1, inf)",
    )
    shared_latent_size: int = fields.field(
        24,
        "dimensions of an encoding by an autoencoder of all classes",
        "autoencoder",
        within="[1, inf)",
    )
    shared_widths: tuple[int, ...] = fields.field(
        (512, 256),
        "hidden layers of an autoencoder of all classes",
        "autoencoder",
        within="[1, inf)",
    )
    autoencoder_steps: int = fields.field(
        2000, "training steps", "autoencoder", within="[0, inf)"
    )
    autoencoder_batch: int = fields.field(
        64, "images per step", "autoencoder", within="[1, inf)"
    )
    autoencoder_rate: float = fields.field(
        1e-3,
        "Adam step size at the start; it falls to 0 along half a cosine",
        "autoencoder",
        within="(0, inf)",
    )
    latent_noise: float = fields.field(
        0.0,
        "noise added to encodings in training, in units of their own std",
        "autoencoder",
        within="[0, inf)",
    )

    basis_size: int = fields.field(
        12,
        "k, the number of vectors that G emits at once",
        "sampler",
        within="[1, inf)",
    )
    shared_basis_size: int = fields.field(
        24, "k where classes share the space", "sampler", within="[1, inf)"
    )
    noise_size: int = fields.field(
        16, "dimensions of G's noise", "sampler", within="[1, inf)"
    )
    coefficients: str = fields.field(
        "normal",
        "distribution of the weights: normal, uniform or laplace",
        "sampler",
        choices=("normal", "uniform", "laplace"),
    )
    orthogonality: float = fields.field(
        1.0, "weight of the penalty", "sampler", within="[0, inf)"
    )
    offset: bool = fields.field(False, "G also emits a vector that is added", "sampler")
    acceptance: str = fields.field(
        "rejection",
        "which candidates are decoded: all, threshold or rejection",
        "sampler",
        choices=("all", "threshold", "rejection"),
    )
    accepted: float = fields.field(
        0.5,
        "share of the candidates to accept, unless all are",
        "sampler",
        within="(0.01, 1]",  # with less, candidates were hundreds of times the images
    )
    sampler_widths: tuple[int, ...] = fields.field(
        (64, 64),
        "hidden layers of G and D, the plain GAN's too",
        "sampler",
        within="[1, inf)",
    )
    sampler_steps: int = fields.field(
        3000, "training steps", "sampler", within="[0, inf)"
    )
    sampler_batch: int = fields.field(
        64, "encodings per step", "sampler", within="[1, inf)"
    )
    sampler_rate: float = fields.field(
        1e-3, "Adam step size of G and D", "sampler", within="(0, inf)"
    )
    sampler_beta1: float = fields.field(
        0.5, "Adam beta1 of G and D", "sampler", within="[0, 1)"
    )
    move_scale: float = fields.field(
        0.7, "factor by which moves are lengthened", "sampler", within="[0, inf)"
    )
    num_moves: int = fields.field(
        20_000, "differences that samplers learn from", "sampler", within="[1, inf)"
    )

    def __post_init__(self) -> None:
        fields.check(self)
        for prefix in ("", "shared_"):
            k, size = (getattr(self, prefix + n) for n in ("basis_size", "latent_size"))
            if k > size:
                raise errors.InputError(
                    f"--{prefix}basis_size={k} vectors cannot be orthogonal in "
                    f"--{prefix}latent_size={size} dimensions"
                )

    def shared(self) -> "Config":
        """Return the configuration of the models that all classes share."""
        return dataclasses.replace(
            self,
            latent_size=self.shared_latent_size,
            basis_size=self.shared_basis_size,
            autoencoder_widths=self.shared_widths,
        )


def preset(dataset: str, **changes: Any) -> Config:
    """Make the configuration for a data set.

    Args:
      dataset: "mnist" or "digits".
      **changes: fields that differ.

    Raises:
      InputError: for another data set, or a change out of range.
    """
    if dataset not in _PRESETS:
        raise errors.InputError(
            f"--dataset={dataset} must be one of {', '.join(_PRESETS)} or auto"
        )
    return Config(**({"dataset": dataset} | _PRESETS[dataset] | changes))


def variants(config: Config, prefix: str = "") -> dict[str, dict[str, Any]]:
    """List the ablation's variants: one changed choice each.

    Args:
      config: the configuration to take apart.
      prefix: of the names of sizes, "shared_" for a space that the classes share.

    Returns:
      The variant's name -> the fields that differ.
    """
    basis, latent = f"{prefix}basis_size", f"{prefix}latent_size"
    k, d = getattr(config, basis), getattr(config, latent)
    return {
        "as it is": {},
        "a quarter of the basis": {basis: max(1, k // 4)},
        "half the basis": {basis: max(1, k // 2)},
        "half the latent size": {latent: d // 2, basis: min(k, d // 2)},
        "twice the latent size": {latent: 2 * d, basis: 2 * k},
        "uniform coefficients": {"coefficients": "uniform"},
        "Laplace coefficients": {"coefficients": "laplace"},
        "no penalty": {"orthogonality": 0.0},
        "ten times the penalty": {"orthogonality": 10 * config.orthogonality},
        "all accepted": {"acceptance": "all"},
        "accepted by threshold": {"acceptance": "threshold"},
        "a learned offset": {"offset": True},
        "noise on the encodings": {"latent_noise": 0.3},
        "a quarter of the training": {
            "autoencoder_steps": config.autoencoder_steps // 4
        },
    }


def keeps_autoencoders(changes: dict[str, Any]) -> bool:
    """Whether a change leaves the autoencoders as they are."""
    metadata = {f.name: f.metadata for f in dataclasses.fields(Config)}
    return all(metadata[name]["group"] == "sampler" for name in changes)


_PRESETS: dict[str, dict[str, Any]] = {
    "digits": dict(
        fraction=0.3,
        data_size=64,
        latent_size=6,
        basis_size=6,
        shared_latent_size=12,
        shared_basis_size=12,
        autoencoder_widths=(64,),
        shared_widths=(128,),
        autoencoder_steps=400,
        shared_autoencoders=2,
        sampler_steps=400,
        num_moves=5000,
    ),
    "mnist": dict(data_size=784),
}
