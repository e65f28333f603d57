"""Take a method apart: the same runs with one ingredient removed at a time.

    python scripts/ablate.py --dataset=ring
        Ten minutes on two CPU cores. Expect 8 of 8 modes with everything, 6 without the
        penalty.
    python scripts/ablate.py --dataset=high_dim --seeds=2
        Ten minutes.
    python scripts/ablate.py --dataset=grid --preset=best --seeds=2 --only="longer run"
        Five minutes.
    python scripts/ablate.py --dataset=stacked_mnist --seeds=2
        By the steps/s some two hours; not measured.
    python scripts/ablate.py --dataset=stacked_mnist --preset=quarter --steps=10000
        The hard set-up, where a GAN collapses; ten minutes a variant and seed on one
        core. `--seeds=1 "--only=penalty,reconstruction"` names what to take out.

    python scripts/ablate.py --method=rpgan --dataset=grid
        R3GAN's ablation: what stops the collapse, the pairs, R1 or R2?
    python scripts/ablate.py --method_file=my_gan.py --dataset=grid
        Your method. Its file has a function `ablations(config)` that returns
        {"everything": {}, "name of an ingredient": {"setting": value without it}}.

Seeds start at 100, so that they are not those of the tables. Each variant is a run of
train_mixtures.py or train_stacked_mnist.py in runs/ablation/DATASET/PRESET/VARIANT
(PRESET-METHOD but for VEEGAN+); the same command continues it. All results are in
results/ablations.md; `make_tables.py --add=runs/ablation` copies new records there.
"""

import functools
import pathlib
from typing import Any

import early  # noqa: F401
from absl import flags

from veegan_jax import methods
from veegan_jax.common import errors, records
from veegan_jax.common import flags as common_flags
from veegan_jax.config import Config
from veegan_jax.data import mixtures
from veegan_jax.experiments import base, diverged
from veegan_jax.experiments import mixtures as mixture_experiment
from veegan_jax.experiments import stacked_mnist as stacked_mnist_experiment
from veegan_jax.presets import mixtures as mixture_presets
from veegan_jax.presets import resolve
from veegan_jax.presets import stacked_mnist as stacked_mnist_presets
from veegan_jax.runtime import distributed, program

EXPERIMENTS = {  # by page of presets: how to train and score, and its options
    mixture_presets: (mixture_experiment, base.Options),
    stacked_mnist_presets: (stacked_mnist_experiment, stacked_mnist_experiment.Options),
}
DATASETS = [name for page in EXPERIMENTS for name in page.DATASETS]

DATASET = flags.DEFINE_string("dataset", "ring", f"one of {', '.join(DATASETS)}")
PRESET = flags.DEFINE_string("preset", "quick", "configuration to start from")
SEEDS = common_flags.define_number(
    "seeds", 5, "seeds per variant, from 100", within="[1, inf)"
)
STEPS = common_flags.define_number(
    "steps", 0, "training steps of every variant; 0: the preset's", within="[0, inf)"
)
METHOD = flags.DEFINE_string("method", resolve.METHOD, "which one is taken apart")
METHOD_FILE = common_flags.define_path(
    "method_file", None, "a Python file of your own method, with ablations as well"
)
ONLY = flags.DEFINE_list("only", [], "ingredients to take out (default: each)")
WORKDIR = common_flags.define_path("workdir", "runs/ablation", "where the runs go")
CPU_DEVICES = common_flags.define_number(
    "cpu_devices",
    distributed.cpu_cores(),
    "CPU cores to spread seeds over",
    within=distributed.CORES,
)


def select(variants: dict[str, dict], names: list[str]) -> dict[str, dict]:
    """Return the whole and the variants named, or all if none is named.

    Args:
      variants: name -> the fields that it changes; the whole changes none.
      names: of variants.

    Raises:
      InputError: for a name that does not exist.
    """
    for name in names:
        if name not in variants:
            raise errors.InputError(
                f"--only={name}: unknown; any of {', '.join(variants)}"
            )
    return {n: v for n, v in variants.items() if not names or not v or n in names}


def ingredients(config: Config) -> dict[str, dict[str, Any]]:
    """Return the variants of a method: name -> the fields that make it.

    Raises:
      InputError: for a method that lists none.
    """
    page, method = resolve.page_of(config.dataset), methods.get(config.method)
    if config.method == resolve.METHOD:  # its ingredients differ between the pages
        return page.ablations(config)
    if not hasattr(method, "ablations"):
        file = METHOD_FILE.value
        raise errors.InputError(
            (f"--method_file={file}" if file else f"--method={config.method}")
            + " has no function ablations(config), which ablate.py needs to know what "
            "to take out; see --help"
        )
    return method.ablations(config)


def main() -> None:
    dataset, preset = DATASET.value, PRESET.value
    if dataset not in DATASETS and not mixtures.is_mixture(dataset):
        raise errors.InputError(
            f"--dataset={dataset} must be one of {', '.join(DATASETS)}, "
            f"{mixture_presets.MORE}"
        )
    page = resolve.page_of(dataset)
    experiment, options_class = EXPERIMENTS[page]
    options = options_class(preset=preset, seeds=SEEDS.value, first_seed=100)
    steps = {"steps": STEPS.value} if STEPS.value else {}
    named = {} if METHOD.value == resolve.METHOD else {"method": METHOD.value}
    method = base.pop_method(named, METHOD_FILE.value)
    whole = resolve.resolve(method, dataset, preset, **steps)
    variants = select(ingredients(whole), ONLY.value)
    place = preset if method == resolve.METHOD else f"{preset}-{method}"
    folder = pathlib.Path(WORKDIR.value, mixtures.folder(whole.dataset), place)
    runs = [
        (
            folder / name.replace(" ", "_"),
            resolve.resolve(method, dataset, preset, **(steps | changes)),
        )
        for name, changes in variants.items()
    ]
    distributed.use_cpu_cores(CPU_DEVICES.value)
    experiment.check(runs, options)
    rows, failed = {}, []
    for (path, config), (name, changes) in zip(runs, variants.items(), strict=True):
        run = functools.partial(experiment.run, config, options, path)
        record = diverged.attempt(path, failed, run)
        if record is None:
            continue
        rows[name] = record
        about = {"without": name, "changes": changes}
        records.write(path / "ablation.json", about | record)
    if rows:
        title = f"{method} on {dataset}, {preset}, each row without:"
        print(f"\n{title}\n\n{experiment.table(rows)}")
    diverged.raise_any(failed)


if __name__ == "__main__":
    program.run(main)
