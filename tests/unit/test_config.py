"""Every ablation is a valid configuration that differs from the whole in its part."""

import pytest

from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.presets import resolve


@pytest.mark.parametrize("preset", ["quick", "best"])
@pytest.mark.parametrize("dataset", mixture_presets.DATASETS)
def test_each_ablation_takes_out_what_it_says(preset, dataset):
    whole = resolve.resolve("veegan_plus", dataset, preset)
    seen = set()
    for name, changes in mixture_presets.ablations(whole).items():
        variant = resolve.resolve("veegan_plus", dataset, preset, **changes)
        assert (variant == whole) == (name == "everything")
        assert variant not in seen  # no ingredient is taken out twice
        seen.add(variant)
