"""The options of the amplification experiment."""

import dataclasses
from typing import Any

from lgan_jax import classifier, generators
from veegan_jax.common import errors, fields
from veegan_jax.data import images
from veegan_jax.runtime import parallel

SHARES = (0.25, 0.5, 0.75)  # of a batch, generated
ALL, NONE = "all data", "none"  # without generation: all images known, the fraction
BASIC, STRONG = "basic", "strong"  # classifiers


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the measurement and of the run. Each field is also a flag."""

    generators: str = fields.field(
        "lgan,plain_gan,gaussian,mixup,decoded,vae,affine,lgan_moves",
        "generators to compare: names of lgan_jax/generators.py, with commas between",
        "main",
    )
    strong_generators: str = fields.field(
        "", "generators that the stronger classifier judges too", "main"
    )
    seeds: int = fields.field(
        10, "splits of the data, each with models of its own", within="[1, inf)"
    )
    first_seed: int = fields.field(
        0, "seeds are first_seed, first_seed + 1, ...", within="[0, 2**32)"
    )
    repeats: int = fields.field(
        2, "classifiers for each seed, generator and share", within="[1, inf)"
    )
    generated: int = fields.field(
        5000, "generated images of each class", within="[1, inf)"
    )
    validate: bool = fields.field(
        False, "judge by training images held out, not by the test set: for tuning"
    )
    sample_quality: bool = fields.field(
        True, "also measure the generated images themselves, not only the accuracy"
    )
    classifier_steps: int = fields.field(
        0, "training steps of each classifier; 0: as published", within="[0, inf)"
    )
    classifier: str = fields.field(
        "",
        "file of the classifier that judges labels; empty: the pinned one",
        path=True,
    )
    data_dir: str = fields.field(
        "", "folder of tensorflow-datasets; empty: TFDS_DATA_DIR", path=True
    )
    parallel: str = fields.field(
        "none",
        "none: devices share seeds and classes; jit or pmap: they share each batch of "
        "the generating models",
        choices=parallel.MODES,
    )
    save_every: float = fields.field(
        60.0, "seconds between checkpoints of a stage", within="[0, inf)"
    )
    dry_run: bool = fields.field(
        False,
        "compile the stages of the models; print parameters, arithmetic, memory and "
        "communication of a step of each; train nothing, write nothing",
    )

    def __post_init__(self) -> None:
        fields.check(self)
        if self.seed_numbers().stop > 2**32:
            raise errors.InputError(
                f"--first_seed={self.first_seed}: seeds must be below 2**32"
            )
        self.stages()  # refuses unknown generators

    def seed_numbers(self) -> range:
        """The seeds of the run."""
        return range(self.first_seed, self.first_seed + self.seeds)

    def judged(self, kind: str) -> tuple[str, ...]:
        """Return what a kind of classifier learns from: ALL, NONE and generators."""
        listed = self.generators if kind == BASIC else self.strong_generators
        names = tuple(name.strip() for name in listed.split(",") if name.strip())
        return (ALL, NONE, *names) if names or kind == BASIC else ()

    def stages(self) -> tuple[str, ...]:
        """The stages of training that the run needs, in order.

        Raises:
          InputError: for a generator that does not exist.
        """
        names = (*self.judged(BASIC), *self.judged(STRONG))
        chosen = [name for name in names if name not in (ALL, NONE)]
        return generators.stages(chosen, sample_quality=self.sample_quality)


def preset(dataset: str, **changes: Any) -> Options:
    """Make the options for a data set: fewer seeds for one that is done in minutes."""
    few = {"seeds": 5} if dataset == "digits" else {}
    return Options(**few | changes)


def recipe(dataset: str, kind: str, options: Options) -> classifier.Recipe:
    """Make the recipe of a kind of classifier.

    The basic one has one hidden layer, as the published accuracies suggest; the strong
    one also has convolutions.
    """
    shape = images.SHAPES[dataset]
    small = dataset == "digits"
    steps = options.classifier_steps or (1200 if small else 3000)
    base = classifier.Recipe(shape=shape, steps=steps, batch_size=64 if small else 128)
    if kind == BASIC:
        return base
    first = (16, 3, 1) if small else (16, 5, 2)
    layers = (first, (32, 3, 2))
    return dataclasses.replace(base, layers=layers, hidden=128)
