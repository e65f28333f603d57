"""Published metrics and their sources, for the tables."""

TABLE_1 = "VEEGAN paper, Table 1"

# The method of the papers that a method is compared with. A method of the user's has
# none, whatever its name is.
FAMILIES = {
    "gan": "gan",
    "pacgan": "pacgan",
    "ali": "ali",
    "unrolled": "unrolled",
    "veegan": "veegan",
    "veegan_adversarial": "veegan",
    "veegan_mean": "veegan",
    "veegan_plus": "veegan",
}


def family(method: str) -> str:
    """Return the method of the papers that a method is compared with, or ""."""
    return FAMILIES.get(method, "")


# dataset -> method -> (modes captured, % high-quality samples). PacGAN: packs of two,
# from Table 1 of its own paper, whose networks and budget (400,000 steps) differ.
MIXTURES: dict[str, dict[str, tuple[float, float]]] = {
    "ring": {
        "gan": (1, 99.3),
        "ali": (2.8, 0.13),
        "unrolled": (7.6, 35.6),
        "veegan": (8, 52.9),
        "pacgan": (7.9, 95.6),
    },
    "grid": {
        "gan": (3.3, 0.5),
        "ali": (15.8, 1.6),
        "unrolled": (23.6, 16),
        "veegan": (24.6, 40),
        "pacgan": (23.8, 91.3),
    },
    "high_dim": {
        "gan": (1.6, 2.0),
        "ali": (3, 5.4),
        "unrolled": (0, 0),
        "veegan": (5.5, 28.29),
    },
}

# Stacked MNIST: method -> (modes of 1,000, KL(generated || data) in nats, source), of
# 26,000 samples. Networks and training differ between the sources, so the same method
# differs by much (DCGAN: 79 to 628 modes). Compare only within one source.
STACKED_MNIST: dict[str, tuple[float, float, str]] = {
    "DCGAN": (99, 3.4, "VEEGAN paper"),
    "ALI": (16, 5.4, "VEEGAN paper"),
    "Unrolled GAN": (48.7, 4.32, "VEEGAN paper"),
    "VEEGAN": (150, 2.95, "VEEGAN paper"),
    "DCGAN, PacGAN's": (78.9, 4.50, "PacGAN paper"),
    "PacDCGAN2": (1000, 0.06, "PacGAN paper"),
    "PacDCGAN3": (1000, 0.06, "PacGAN paper"),
    "PacDCGAN4": (1000, 0.07, "PacGAN paper"),
    "GDPP": (1000, 0.135, "GDPP paper"),
    "WGAN-GP": (959, 0.73, "R3GAN paper, Table 3"),
    "StyleGAN2": (940, 0.42, "R3GAN paper, Table 3"),
    "PresGAN": (1000, 0.12, "R3GAN paper, Table 3"),
    "DDGAN": (1000, 0.071, "R3GAN paper, Table 3"),
    "MEG": (1000, 0.031, "R3GAN paper, Table 3"),
    "R3GAN": (1000, 0.029, "R3GAN paper, Table 3"),
}

# The same with a discriminator that has a fraction K of the generator's size, so that
# the metrics do not saturate: K -> method -> (modes, KL), of 25,600 samples.
SMALL_DISCRIMINATOR = "PacGAN paper, in the set-up of the Unrolled GAN paper"
STACKED_MNIST_SMALL: dict[str, dict[str, tuple[float, float]]] = {
    "1/4": {
        "DCGAN, PacGAN's": (78.5, 5.21),
        "Unrolled GAN, 5 steps": (236.4, 4.67),
        "Unrolled GAN, 10 steps": (327.2, 4.66),
        "PacDCGAN3": (601.3, 2.00),
        "PacDCGAN4": (667.4, 1.81),
    },
    "1/2": {
        "DCGAN, PacGAN's": (487.7, 2.24),
        "Unrolled GAN, 5 steps": (732, 1.66),
        "Unrolled GAN, 10 steps": (817.4, 1.43),
        "PacDCGAN3": (866.6, 0.90),
        "PacDCGAN4": (820.2, 1.15),
    },
}

# IvOM on CIFAR-10: method -> (name, mean squared error of pixels in [0, 1], spread), of
# the VEEGAN paper. The paper does not state the latent sizes and the test images.
IVOM: dict[str, tuple[str, float, float]] = {
    "gan": ("DCGAN", 0.00844, 0.002),
    "ali": ("ALI", 0.0067, 0.004),
    "unrolled": ("Unrolled GAN", 0.013, 0.0009),
    "veegan": ("VEEGAN", 0.0068, 0.0001),
}
