"""Published figures, to stand beside ours: (modes, % high quality) and the source."""

TABLE_1 = "VEEGAN paper, Table 1"

# dataset -> method -> (modes captured, % high-quality samples)
MIXTURES: dict[str, dict[str, tuple[float, float]]] = {
    "ring": {
        "gan": (1, 99.3),
        "ali": (2.8, 0.13),
        "unrolled": (7.6, 35.6),
        "veegan": (8, 52.9),
    },
    "grid": {
        "gan": (3.3, 0.5),
        "ali": (15.8, 1.6),
        "unrolled": (23.6, 16),
        "veegan": (24.6, 40),
    },
    "high_dim": {
        "gan": (1.6, 2.0),
        "ali": (3, 5.4),
        "unrolled": (0, 0),
        "veegan": (5.5, 28.29),
    },
}
