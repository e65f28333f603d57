"""Published metrics, with their sources and protocols, for the tables.

A published row stands beside ours only where a preset of ours has its protocol; all of
them stand in tables of their own.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Row(NamedTuple):
    """What a paper states of one method on one data set."""

    dataset: str
    label: str  # the method's name there
    source: str  # one of `PROTOCOLS`
    metrics: Mapping[str, float]  # by our names of them
    error: Mapping[str, float] = {}  # standard errors of some of them
    method: str = ""  # ours, if `preset` has the same protocol
    preset: str = ""


# Source -> the protocol of its rows on mixtures and stacks.
PROTOCOLS = {
    "VEEGAN paper": "2,500 samples of a mixture, five runs; on Stacked MNIST 26,000. "
    "Networks are stated for VEEGAN on the mixtures alone",
    "PacGAN paper": "mixtures: G 4 x 400, D 3 x 200 maxout, 400,000 steps of 100 "
    "packs; Stacked MNIST: DCGAN, 50 epochs of 128,000 stacks, 64 packs, ten runs",
    "GDPP paper": "two layers of 128 tanh, z of 256, 25,000 steps of 512; its ring "
    "has two means at one place, so seven modes",
    "MEG paper": "DCGAN, z of 128, 100,000 steps of 64, five steps of the critic; its "
    "WGAN-GP penalizes the norm over the channels of each pixel",
    "R3GAN paper, Table 3": "collected there from papers with networks of many sizes",
    "PacGAN paper, K = 1/4": "D has a quarter of G's channels, 500,000 steps of 128, "
    "25,600 samples, 50 runs",
    "PacGAN paper, K = 1/2": "the same, half of G's channels",
}


def _mixtures(
    label: str,
    source: str,
    *cells: tuple[float, float] | None,
    method: str = "",
    presets: tuple[str, ...] = ("", "", ""),
) -> list[Row]:
    """Make the rows of a method: (modes, % high quality) on ring, grid and 1200-D."""
    names = ("ring", "grid", "high_dim")
    return [
        Row(
            *(dataset, label, source, {"modes": cell[0], "high_quality": cell[1]}),
            method=method if preset else "",
            preset=preset,
        )
        for dataset, cell, preset in zip(names, cells, presets, strict=False)
        if cell
    ]


# The VEEGAN paper's own measure of 1200-D, by which a perfect model scores 0 / 0.
MIXTURES: list[Row] = [
    *_mixtures("GAN", "VEEGAN paper", (1, 99.3), (3.3, 0.5), (1.6, 2.0)),
    *_mixtures("ALI", "VEEGAN paper", (2.8, 0.13), (15.8, 1.6), (3, 5.4)),
    *_mixtures("Unrolled GAN", "VEEGAN paper", (7.6, 35.6), (23.6, 16), (0, 0)),
    *_mixtures(
        *("VEEGAN", "VEEGAN paper", (8, 52.9), (24.6, 40), (5.5, 28.29)),
        method="veegan",
        presets=("paper", "paper", ""),  # the authors' code is of the plane
    ),
    *_mixtures("GAN", "PacGAN paper", (6.3, 98.2), (17.3, 94.8)),
    *_mixtures(
        *("ALI", "PacGAN paper", (6.6, 97.6), (24.1, 95.7)),
        method="ali",
        presets=("paper", "paper"),
    ),
    *_mixtures(
        *("PacGAN2", "PacGAN paper", (7.9, 95.6), (23.8, 91.3)),
        method="pacgan",
        presets=("paper", "paper"),
    ),
    *_mixtures("PacGAN3", "PacGAN paper", (7.8, 97.7), (24.6, 94.2)),
    *_mixtures("PacGAN4", "PacGAN paper", (7.8, 95.9), (24.8, 93.6)),
    *_mixtures("WGAN-GP", "GDPP paper", (6.8, 59.6), (24.2, 28.7), (6.4, 29.5)),
    *_mixtures(
        *("GDPP", "GDPP paper", (8, 71.7), (24.8, 68.5), (7.4, 48.3)),
        method="gdpp",
        presets=("", "paper", ""),
    ),
]


def _stacks(
    label: str,
    source: str,
    modes: float,
    kl: float,
    error: tuple[float, ...] = (),
    dataset: str = "stacked_mnist",
    method: str = "",
    preset: str = "",
) -> Row:
    names = ("modes", "kl_uniform")
    errors = dict(zip(names, error, strict=False))
    metrics = dict(zip(names, (modes, kl), strict=True))
    return Row(dataset, label, source, metrics, errors, method, preset)


# Modes and KL in nats. The same method differs by much between the sources (DCGAN: 79
# to 628 modes).
_QUARTER, _HALF = "PacGAN paper, K = 1/4", "PacGAN paper, K = 1/2"
STACKED_MNIST: list[Row] = [
    _stacks("DCGAN", "VEEGAN paper", 99, 3.4),
    _stacks("ALI", "VEEGAN paper", 16, 5.4),
    _stacks("Unrolled GAN", "VEEGAN paper", 48.7, 4.32),
    _stacks("VEEGAN", "VEEGAN paper", 150, 2.95),
    _stacks(
        *("DCGAN", "PacGAN paper", 78.9, 4.50, (6.5, 0.13)),
        method="gan",
        preset="paper",
    ),
    _stacks("PacDCGAN2", "PacGAN paper", 1000, 0.06, (0, 0.003)),
    _stacks("PacDCGAN3", "PacGAN paper", 1000, 0.06, (0, 0.003)),
    _stacks(
        *("PacDCGAN4", "PacGAN paper", 1000, 0.07, (0, 0.005)),
        method="pacgan",
        preset="paper",
    ),
    _stacks("GDPP", "GDPP paper", 1000, 0.135),
    _stacks("WGAN-GP", "MEG paper", 959, 0.7276),
    _stacks("MEG", "MEG paper", 1000, 0.0313, method="meg", preset="paper"),
    _stacks("PacGAN", "R3GAN paper, Table 3", 992, 0.28),
    _stacks("StyleGAN2", "R3GAN paper, Table 3", 940, 0.42),
    _stacks("PresGAN", "R3GAN paper, Table 3", 1000, 0.12),
    _stacks("Adv. DSM", "R3GAN paper, Table 3", 1000, 1.49),
    _stacks("VAEBM", "R3GAN paper, Table 3", 1000, 0.087),
    _stacks("DDGAN", "R3GAN paper, Table 3", 1000, 0.071),
    _stacks("R3GAN", "R3GAN paper, Table 3", 1000, 0.029),
    _stacks("WGAN-GP", "MEG paper", 9538, 0.9144, dataset="stacked_mnist4"),
    _stacks("MEG", "MEG paper", 10_000, 0.0480, dataset="stacked_mnist4"),
    _stacks("DCGAN, Unrolled GAN paper's", _QUARTER, 30.6, 5.99, (20.7,)),
    _stacks(*("DCGAN", _QUARTER, 78.5, 5.21, (17.6,)), method="gan", preset="quarter"),
    _stacks("Unrolled GAN, 1 step", _QUARTER, 65.4, 5.91),
    _stacks(
        *("Unrolled GAN, 5 steps", _QUARTER, 236.4, 4.67),
        method="unrolled",
        preset="quarter",
    ),
    _stacks("Unrolled GAN, 10 steps", _QUARTER, 327.2, 4.66),
    _stacks("PacDCGAN2", _QUARTER, 484.5, 2.61, (33,)),
    _stacks("PacDCGAN3", _QUARTER, 601.3, 2.00),
    _stacks("PacDCGAN4", _QUARTER, 667.4, 1.81, method="pacgan", preset="quarter"),
    _stacks("DCGAN, Unrolled GAN paper's", _HALF, 628, 2.58),
    _stacks("DCGAN", _HALF, 487.7, 2.24, method="gan", preset="half"),
    _stacks("Unrolled GAN, 1 step", _HALF, 523.6, 2.44),
    _stacks(
        *("Unrolled GAN, 5 steps", _HALF, 732, 1.66), method="unrolled", preset="half"
    ),
    _stacks("Unrolled GAN, 10 steps", _HALF, 817.4, 1.43),
    _stacks("PacDCGAN2", _HALF, 840.7, 1.00),
    _stacks("PacDCGAN3", _HALF, 866.6, 0.90),
    _stacks("PacDCGAN4", _HALF, 820.2, 1.15, method="pacgan", preset="half"),
]

# IvOM on CIFAR-10: mean squared error of pixels in [0, 1], and its spread. The paper
# states neither latent sizes nor the test images; its authors' code of 2017 has others.
IVOM: list[Row] = [
    Row("cifar10", label, "VEEGAN paper", {"ivom": mean}, {"ivom": spread})
    for label, mean, spread in (
        ("DCGAN", 0.00844, 0.002),
        ("ALI", 0.0067, 0.004),
        ("Unrolled GAN", 0.013, 0.0009),
        ("VEEGAN", 0.0068, 0.0001),
    )
]

# Inference on MNIST: the Euclidean error of G(R(x)), and % of its digits that a
# classifier reads as x's.
INFERENCE: list[Row] = [
    Row("mnist", label, "MINE paper, Table 1", {"distance": error, "agreement": share})
    for label, error, share in (
        ("ALI", 14.24, 45.95),
        ("ALICE", 5.20, 98.17),
        ("MINE", 9.73, 96.10),
    )
]


def beside(method: str, dataset: str, preset: str) -> Row | None:
    """Return the published row whose protocol is that of our method and preset."""
    wanted = (method, dataset, preset)
    rows = (*MIXTURES, *STACKED_MNIST)
    return next((r for r in rows if (r.method, r.dataset, r.preset) == wanted), None)
