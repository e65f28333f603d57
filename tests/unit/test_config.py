"""Every ablation is a valid configuration that differs from the whole in its part."""

import pytest

from veegan_jax.presets import mixtures as mixture_presets


@pytest.mark.parametrize("preset", ["quick", "best"])
@pytest.mark.parametrize("dataset", mixture_presets.DATASETS)
def test_each_ablation_takes_out_what_it_says(preset, dataset):
    whole = mixture_presets.preset(preset, "veegan_plus", dataset)
    seen = set()
    for name, changes in mixture_presets.ablations(whole).items():
        variant = mixture_presets.preset(preset, "veegan_plus", dataset, **changes)
        assert (variant == whole) == (name == "everything")
        assert variant not in seen  # no ingredient is taken out twice
        seen.add(variant)
