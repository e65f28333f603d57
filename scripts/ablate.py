"""Takes VEEGAN+ apart: the same runs with one ingredient removed at a time.

    python scripts/ablate.py --dataset=ring
    python scripts/ablate.py --dataset=high_dim --seeds=2
    python scripts/ablate.py --dataset=grid --preset=best --seeds=2 --only="longer run"
    python scripts/ablate.py --dataset=stacked_mnist --seeds=2

Seeds start at 100, apart from those of the tables. Each variant is a run of
train_mixtures.py or train_stacked_mnist.py with the flags shown, resumable, in
runs/ablation/DATASET/PRESET/VARIANT; on two CPU cores the mixtures take about 10, 10
and 5 minutes, Stacked MNIST with two seeds half an hour. `make_tables.py
--add=runs/ablation` copies their records to results/.
"""

import pathlib

from absl import flags

from veegan_jax.common import errors, records
from veegan_jax.experiments import base
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.presets import resolve
from veegan_jax.presets import stacked_mnist as stacked_mnist_presets
from veegan_jax.runtime import distributed, program

DATASET = flags.DEFINE_string(
    "dataset",
    "ring",
    f"one of {', '.join((*mixture_presets.DATASETS, *stacked_mnist_presets.SIZES))}",
)
PRESET = flags.DEFINE_string("preset", "quick", "configuration to start from")
SEEDS = flags.DEFINE_integer("seeds", 5, "seeds per variant, from 100")
ONLY = flags.DEFINE_list("only", [], "ingredients to take out (default: each)")
WORKDIR = flags.DEFINE_string("workdir", "runs/ablation", "where the runs go")
CPU_DEVICES = flags.DEFINE_integer(
    "cpu_devices", distributed.cpu_cores(), "CPU cores to spread seeds over"
)


def select(variants: dict[str, dict], names: list[str]) -> dict[str, dict]:
    """The variants named and the whole, or all where none is named."""
    for name in names:
        if name not in variants:
            raise errors.InputError(
                f"--only={name}: unknown; any of {', '.join(variants)}"
            )
    return {n: v for n, v in variants.items() if not names or not v or n in names}


def main() -> None:
    images = DATASET.value in stacked_mnist_presets.SIZES
    presets = stacked_mnist_presets if images else mixture_presets
    values = dict(preset=PRESET.value, seeds=SEEDS.value, first_seed=100)
    options = (
        stacked_mnist_experiment.Options(**values) if images else base.Options(**values)
    )
    config = resolve.resolve(resolve.METHOD, DATASET.value, PRESET.value)
    distributed.use_cpu_cores(CPU_DEVICES.value)
    folder = pathlib.Path(WORKDIR.value) / DATASET.value / PRESET.value
    variants = select(presets.ablations(config), ONLY.value)
    runs = []
    for name, changes in variants.items():
        changed = resolve.resolve(
            resolve.METHOD, DATASET.value, PRESET.value, **changes
        )
        runs.append((folder / name.replace(" ", "_"), changed))
    (stacked_mnist_experiment if images else mixture_experiment).check(runs, options)
    rows = {}
    for (path, changed), (name, changes) in zip(runs, variants.items(), strict=True):
        if images:
            rows[name] = stacked_mnist_experiment.run(changed, options, path)
        else:
            rows[name] = mixture_experiment.run(changed, options, path)
        about = {"without": name, "changes": changes}
        records.write(path / "ablation.json", about | rows[name])
    print(f"\n{DATASET.value}, {PRESET.value}, each row without:\n")
    print(
        stacked_mnist_experiment.table(rows)
        if images
        else mixture_experiment.table(rows)
    )


if __name__ == "__main__":
    program.run(main)
