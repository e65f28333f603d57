"""What an L-GAN run computes, as one frozen dataclass, and its presets.

Dimension key: k basis vectors.
"""

import dataclasses
import math
from typing import Any

from veegan_jax.common import errors

COEFFICIENTS = ("normal", "uniform", "laplace")
ACCEPTANCES = ("all", "threshold", "rejection")


def option(default: Any, group: str, text: str) -> Any:
    """A field that is also a flag."""
    return dataclasses.field(default=default, metadata={"group": group, "help": text})


@dataclasses.dataclass(frozen=True)
class Config:
    """Hyper-parameters of the generation. Each field is also a flag of the scripts."""

    dataset: str = option("digits", "main", "what is amplified; auto: mnist, or digits")
    fraction: float = option(0.1, "main", "share of the training images that is known")
    data_size: int = option(64, "main", "numbers in an image; set by the data")

    latent_size: int = option(12, "autoencoder", "dimensions of an encoding")
    autoencoder_widths: tuple[int, ...] = option(
        (128,), "autoencoder", "hidden layers of the encoder; the decoder mirrors them"
    )
    shared_autoencoders: int = option(
        4, "autoencoder", "how many of all classes, each making as many images"
    )
    shared_latent_size: int = option(
        24, "autoencoder", "dimensions of an encoding of the one of all classes"
    )
    shared_widths: tuple[int, ...] = option(
        (512, 256), "autoencoder", "hidden layers of the one of all classes"
    )
    autoencoder_steps: int = option(2000, "autoencoder", "training steps")
    autoencoder_batch: int = option(64, "autoencoder", "images per step")
    autoencoder_rate: float = option(
        1e-3, "autoencoder", "Adam step size, which falls to 0 along half a cosine"
    )
    latent_noise: float = option(
        0.0, "autoencoder", "noise added to training encodings, in their own std"
    )

    basis_size: int = option(12, "sampler", "k, the vectors that G emits at once")
    shared_basis_size: int = option(24, "sampler", "k where classes share the space")
    noise_size: int = option(16, "sampler", "dimensions of G's noise")
    coefficients: str = option(
        "normal", "sampler", f"distribution of the weights: {', '.join(COEFFICIENTS)}"
    )
    orthogonality: float = option(1.0, "sampler", "weight of the penalty")
    offset: bool = option(False, "sampler", "G also emits a vector that is added")
    acceptance: str = option(
        "rejection", "sampler", f"what is decoded: {', '.join(ACCEPTANCES)}"
    )
    accepted: float = option(
        0.5, "sampler", "the share of what is drawn that is accepted, if not all is"
    )
    sampler_widths: tuple[int, ...] = option(
        (64, 64), "sampler", "hidden layers of G, D and the plain GAN's"
    )
    sampler_steps: int = option(3000, "sampler", "training steps")
    sampler_batch: int = option(64, "sampler", "encodings per step")
    sampler_rate: float = option(1e-3, "sampler", "Adam step size of G and D")
    sampler_beta1: float = option(0.5, "sampler", "Adam beta1 of G and D")
    move_scale: float = option(0.7, "sampler", "moves are lengthened by this factor")
    num_moves: int = option(20_000, "sampler", "differences that samplers learn from")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name.endswith("_steps") else 1
            if field.type is int and value < least:
                raise errors.InputError(
                    f"--{field.name}={value} must be at least {least}"
                )
            if field.type is float and not (value >= 0 and math.isfinite(value)):
                raise errors.InputError(f"--{field.name}={value} must be at least 0")
        for name, choices in (
            ("coefficients", COEFFICIENTS),
            ("acceptance", ACCEPTANCES),
        ):
            if getattr(self, name) not in choices:
                raise errors.InputError(
                    f"--{name}={getattr(self, name)!r} must be one of "
                    f"{', '.join(choices)}"
                )
        for prefix in ("", "shared_"):
            k, size = (getattr(self, prefix + n) for n in ("basis_size", "latent_size"))
            if k > size:
                raise errors.InputError(
                    f"--{prefix}basis_size={k} vectors cannot be orthogonal in "
                    f"--{prefix}latent_size={size} dimensions"
                )
        if self.sampler_beta1 >= 1:
            raise errors.InputError(
                f"--sampler_beta1={self.sampler_beta1} must be below 1"
            )
        # With less accepted, the candidates would be hundreds of times the images.
        for name, least in (("fraction", 0), ("accepted", 0.01)):
            value = getattr(self, name)
            if not least < value <= 1:
                raise errors.InputError(f"--{name}={value} must be in ({least}, 1]")

    def shared(self) -> "Config":
        """The configuration of what all classes share."""
        return dataclasses.replace(
            self,
            latent_size=self.shared_latent_size,
            basis_size=self.shared_basis_size,
            autoencoder_widths=self.shared_widths,
        )


def preset(dataset: str, **changes: Any) -> Config:
    """The configuration for a data set.

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
    """Name -> the fields that differ: one choice of the sampler's at a time.

    Args:
      config: the whole.
      prefix: of the sizes' names: "shared_" for those of what the classes share.
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
    """Whether a change leaves the autoencoders what they are."""
    groups = {f.name: f.metadata["group"] for f in dataclasses.fields(Config)}
    return all(groups[name] == "sampler" for name in changes)


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
