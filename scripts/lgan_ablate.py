"""Change one choice of L-GAN at a time, judged by images held out of the known tenth.

    python scripts/lgan_ablate.py --dataset=mnist
    python scripts/lgan_ablate.py --dataset=digits --only="no penalty,all accepted"

Each variant is a resumable run of lgan_amplify.py --validate, in
runs/lgan/ablation/DATASET/GENERATOR/VARIANT. No test image judges, and the seeds start
at 100, apart from those of the tables. With two seeds MNIST takes 15 minutes on two CPU
cores.
"""

import pathlib
import shutil

import early  # noqa: F401
from absl import flags

from lgan_jax import amplification, config, generators, options, report, stages
from lgan_jax.generators import OWN
from veegan_jax.common import errors, files, records
from veegan_jax.common import flags as common_flags
from veegan_jax.data import images
from veegan_jax.runtime import distributed, loop, program

DATASETS = ("digits", "mnist")

DATASET = flags.DEFINE_string("dataset", "auto", "mnist, digits or auto")
GENERATOR = flags.DEFINE_string(
    "generator", "lgan", "the one to take apart: lgan, lgan_shared or lgan_moves"
)
SEEDS = common_flags.define_number(
    "seeds", 3, "seeds per variant, from 100", within="[1, inf)"
)
ONLY = flags.DEFINE_list("only", [], "variants to run (default: each)")
DATA_DIR = common_flags.define_path("data_dir", "", "tensorflow-datasets' folder")
WORKDIR = common_flags.define_path("workdir", "runs/lgan/ablation", "where the runs go")
CPU_DEVICES = common_flags.define_number(
    "cpu_devices",
    distributed.cpu_cores(),
    "CPU cores to spread models over",
    within=distributed.CORES,
)


def main() -> None:
    sampler, space = generators.split_name(generators.base(GENERATOR.value))
    if sampler != "lgan":  # the rivals do not have these choices
        raise errors.InputError(
            f"--generator={GENERATOR.value} must be lgan, lgan_shared or lgan_moves"
        )
    dataset = images.choose(DATASET.value, DATA_DIR.value or None, DATASETS)
    if dataset == "digits":
        common_flags.refuse("the digits come with scikit-learn", "data_dir")
    chosen = options.Options(
        generators=GENERATOR.value,
        seeds=SEEDS.value,
        first_seed=100,
        validate=True,
        data_dir=DATA_DIR.value,
    )
    variants = config.variants(
        config.preset(dataset), "shared_" if space != OWN else ""
    )
    for name in ONLY.value:
        if name not in variants:
            raise errors.InputError(
                f"--only={name}: unknown; any of {', '.join(variants)}"
            )
    variants = {
        n: v for n, v in variants.items() if not ONLY.value or not v or n in ONLY.value
    }
    distributed.use_cpu_cores(CPU_DEVICES.value)
    base = pathlib.Path(WORKDIR.value) / dataset / GENERATOR.value
    whole, rows, failed = base / "as_it_is", {}, []
    for name, changes in variants.items():
        path = base / name.replace(" ", "_")
        changed = config.preset(dataset, **changes)
        materials = amplification.prepare(changed, chosen, path)
        if changes and config.keeps_autoencoders(changes):
            _copy_autoencoders(whole, path)
        print(f"\n{name}: {path}", flush=True)
        about = {"variant": name, "changes": changes}
        try:
            models = stages.train(materials.task, changed, chosen.stages(), path)
        except loop.NonFinite as error:  # the other variants go on
            failed.append(f"{path}: {error}")
            continue
        rows[name] = about | amplification.run(models, materials, chosen, path)
        records.write(path / "ablation.json", rows[name])
    if rows:
        print(f"\n{report.ablation_table(rows, GENERATOR.value)}")
    if failed:
        raise loop.NonFinite("\n".join(failed))


def _copy_autoencoders(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy trained autoencoders, which every variant that keeps them shares."""
    for use in ("autoencoder", "shared"):
        if (source / use).exists() and not (target / use).exists():
            with files.writing(target / use), files.temporary(target / use) as part:
                shutil.copytree(source / use, part)
                part.rename(target / use)


if __name__ == "__main__":
    program.run(main)
