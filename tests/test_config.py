"""Every ablation is a valid configuration that differs from the whole in its part."""

import pytest

from veegan_jax import config_mixtures


@pytest.mark.parametrize("preset", ["quick", "best"])
@pytest.mark.parametrize("dataset", config_mixtures.DATASETS)
def test_each_ablation_takes_out_what_it_says(preset, dataset):
    whole = config_mixtures.preset(preset, "veegan_plus", dataset)
    seen = set()
    for name, changes in config_mixtures.ablations(whole).items():
        variant = config_mixtures.preset(preset, "veegan_plus", dataset, **changes)
        assert (variant == whole) == (name == "everything")
        assert variant not in seen  # no ingredient is taken out twice
        seen.add(variant)
