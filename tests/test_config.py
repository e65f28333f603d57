"""Every ablation is a valid configuration that differs from the whole in its part."""

import pytest

from veegan_jax import config as configs


@pytest.mark.parametrize("preset", ["quick", "best"])
@pytest.mark.parametrize("dataset", configs.DATASETS)
def test_each_ablation_takes_out_what_it_says(preset, dataset):
    whole = configs.preset(preset, "veegan_plus", dataset)
    seen = set()
    for name, changes in configs.ablations(whole).items():
        variant = configs.preset(preset, "veegan_plus", dataset, **changes)
        assert (variant == whole) == (name == "everything")
        assert variant not in seen  # no ingredient is taken out twice
        seen.add(variant)
