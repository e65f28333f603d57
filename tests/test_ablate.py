"""Every ablation is a valid configuration that differs from the whole in its part."""

import importlib.util
import pathlib

import pytest

from veegan_jax import config as configs

PATH = pathlib.Path(__file__).parents[1] / "scripts" / "ablate.py"


@pytest.mark.parametrize("preset", ["quick", "best"])
@pytest.mark.parametrize("dataset", configs.DATASETS)
def test_each_variant_takes_out_what_it_says(preset, dataset):
    spec = importlib.util.spec_from_file_location("ablate", PATH)
    ablate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ablate)
    whole = configs.preset(preset, "veegan_plus", dataset)
    seen = set()
    for name, changes in ablate.variants(whole).items():
        variant = configs.preset(preset, "veegan_plus", dataset, **changes)
        assert (variant == whole) == (name == "everything")
        assert variant not in seen  # no ingredient is taken out twice
        seen.add(variant)
