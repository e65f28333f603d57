"""Amplify a fraction of a data set by L-GAN and its rivals, judged by classifiers.

    python scripts/lgan_amplify.py
    python scripts/lgan_amplify.py --dataset=mnist --fraction=0.1
    python scripts/lgan_amplify.py --dataset=mnist --generators=lgan_moves,affine

Every generator (see lgan_jax/generators.py) makes 5,000 images of each class, for every
seed. Classifiers learn from batches with a quarter, a half and three quarters of
generated images. The script prints the tables, and writes results.json and the figures
to the work directory. Without MNIST on the machine it uses the bundled 8 x 8 digits.
Stop it at any time and give the same command to continue. The same command with more
--generators or --strong_generators adds to what was measured before.
"""

import pathlib

import early  # noqa: F401

from lgan_jax import (
    amplification,
    cells,
    config,
    figures,
    generators,
    options,
    report,
    stages,
)
from veegan_jax.common import flags as common_flags
from veegan_jax.data import images
from veegan_jax.runtime import distributed, program

DATASETS = ("digits", "mnist")

WORKDIR = common_flags.define_path(
    "workdir", None, "where everything goes (default: runs/lgan/DATASET/FRACTION)"
)
common_flags.define(config.Config, from_preset=True)
common_flags.define(options.Options, from_preset=True)
common_flags.define(distributed.Options, from_preset=False)


def main() -> None:
    hosts = distributed.Options(**common_flags.read(distributed.Options))
    changes = common_flags.read(config.Config)
    changed_options = common_flags.read(options.Options)
    data_dir = changed_options.get("data_dir")
    named = changes.pop("dataset", "auto")
    dataset = images.choose(named, data_dir or None, DATASETS)
    run_config = config.preset(dataset, **changes)
    chosen = options.preset(dataset, **changed_options)
    if dataset == "digits":
        common_flags.refuse("the digits come with scikit-learn", "data_dir")
    if not chosen.sample_quality:
        common_flags.refuse("--nosample_quality judges no labels", "classifier")
    name = f"runs/lgan/{dataset}/{run_config.fraction:g}"
    workdir = pathlib.Path(WORKDIR.value or name)
    if not (workdir / "config.json").exists():  # else they say which models are there
        generators.refuse_unread(run_config, chosen.stages(), changes)
    distributed.start(hosts)
    materials = amplification.prepare(run_config, chosen, workdir)
    task, names = materials.task, chosen.stages()
    if chosen.dry_run:
        print(stages.dry_run(task, run_config, names, mode=chosen.parallel))
        return
    models = stages.train(
        task,
        run_config,
        names,
        workdir,
        mode=chosen.parallel,
        save_every=chosen.save_every,
    )
    record = amplification.run(models, materials, chosen, workdir)

    def draw() -> list[str]:
        made = cells.read_images(workdir, chosen)
        return figures.draw(models, record, made, workdir / "figures")

    drawn = distributed.on_main_process(draw)
    print(f"\n{report.everything(record)}\n")
    print(f"figures ({', '.join(drawn)}) and results.json: {workdir}")


if __name__ == "__main__":
    program.run(main)
