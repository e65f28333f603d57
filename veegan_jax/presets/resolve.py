"""From names to a configuration: method, dataset, preset, and what is changed in it."""

from types import ModuleType
from typing import Any

from veegan_jax import config as configs
from veegan_jax import methods
from veegan_jax.common import errors
from veegan_jax.config import Config
from veegan_jax.presets import images, mixtures, stacked_mnist

METHOD = "veegan_plus"  # the scripts' default
ROWS = ("gan", "pacgan", "ali", "unrolled", "veegan", "veegan_plus")  # --method=all
PAGES: tuple[ModuleType, ...] = (mixtures, stacked_mnist, images)


def page_of(dataset: str) -> ModuleType:
    """Return the page of presets of a dataset.

    Raises:
      InputError: for a dataset that does not exist; the message lists the valid ones.
    """
    for page in PAGES:
        if dataset in page.DATASETS:
            return page
    known = [name for page in PAGES for name in page.DATASETS]
    raise errors.InputError(f"unknown dataset {dataset!r}: one of {', '.join(known)}")


def resolve(
    method: str, dataset: str, preset: str = "quick", **changes: Any
) -> Config:
    """Make the named configuration of a method on a dataset.

    Args:
      method: a registered method. One without settings of its own (yours) gets the
        plain GAN's networks.
      dataset: see `DATASETS` of the pages in veegan_jax/presets.
      preset: see `PRESETS` of the dataset's page.
      **changes: fields that differ from the preset, by their own names: steps,
        learning_rate, generator_widths, ... What follows from the latent size follows
        from a changed one, too.

    Raises:
      InputError: for a name that does not exist, a field that the method does not
        have, or a value out of range; the message says what there is.

    Example:
      >>> resolve("veegan", "ring", "paper").latent_size
      254
    """
    module = methods.get(method)
    page = page_of(dataset)
    if preset not in page.PRESETS:
        raise errors.InputError(
            f"unknown preset {preset!r}: one of {', '.join(page.PRESETS)}"
        )
    config = page.preset(preset, method, dataset, changes.get("latent_size"))
    config = config.replace(**changes)
    configs.check(config)
    if config.networks.dropout and not getattr(module, "DROPS_UNITS", False):
        raise errors.InputError(
            f"--dropout={config.networks.dropout}: {method} drops no units; give "
            "--dropout=0"
        )
    return config
